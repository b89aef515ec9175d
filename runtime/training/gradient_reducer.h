#pragma once

#include <vector>

#include "runtime/communication/communicator.h"
#include "runtime/training/flat_parameters.h"
#include "runtime/training/partition.h"

namespace kessoku::runtime {

/// How gradients are summed.
struct ReducerOptions {
  bool shard = true;    ///< each rank gets the sum of its own parts only (ZeRO-1), else of all
  bool overlap = true;  ///< while backward runs, else after it
  Wire wire = Wire::kFloat32;
  /// kFast: a rank adds its micro-batches one after the other, and the ranks' sums are added.
  Reduction reduction = Reduction::kExact;
};

/// Gradient buffers that a rank needs beside the one that backward fills, for `options` and
/// micro-batches as of `leaves` (see SummationTree).
size_t kept_gradient_buffers(const SummationTree& leaves, Reduction reduction);

/// Sums gradients over micro-batches and ranks along the tree of `SummationTree`: the same bits for
/// every number of ranks. Two micro-batches that are siblings are added by backward itself; a sum
/// of more is kept in a buffer of its own until its sibling is there.
///
/// The exchange goes on while the last backward runs. A hook at each parameter tells when its
/// gradient is there; a bucket whose gradients all are is sent off, in an order that all ranks
/// share: at first from the last parameters to the first, then the order in which rank 0's buckets
/// were ready in the first step.
class GradientReducer {
 public:
  /// `micro_batches` of a step: of all ranks. The references must outlive the reducer. Hooks stay
  /// until it is destroyed. Collective.
  GradientReducer(FlatParameters& flat, const Partition& partition, const ReducerOptions& options,
                  int64_t micro_batches, Communicator& communicator);
  GradientReducer(const GradientReducer&) = delete;
  GradientReducer& operator=(const GradientReducer&) = delete;
  ~GradientReducer();

  /// Before backward of this rank's micro-batch `number` (0, 1, …) of a step. Gradients are sent
  /// off in the last one only; not before `finish` if `hold`, so that the gradient buffer can be
  /// read after it.
  void prepare(int64_t number, bool hold = false);
  /// The last of the micro-batches of `rank` up to its `number` after whose backward the gradient
  /// buffer holds the gradients of this one alone.
  int64_t alone_at(int rank, int64_t number) const;
  /// After the last backward: sends what is left. What is asked for next finds the sums in the
  /// gradient buffer, all of them or in this rank's parts.
  void finish();
  /// Waits for them. Throws Error if an exchange failed.
  void require_done();

  /// Buckets in the order in which they are sent.
  const std::vector<size_t>& order() const { return order_; }

 private:
  class Hook;
  /// A sum that waits for its sibling; `values` as the gradient buffer.
  struct Kept {
    TreeBlock block;
    at::Tensor values;
  };

  void keep();
  void complete(size_t bucket);
  void on_gradient(size_t parameter);
  void send_ready();
  void send(size_t bucket);
  void learn_order();

  FlatParameters& flat_;
  const Partition& partition_;
  ReducerOptions options_;
  Communicator& communicator_;
  int64_t per_rank_;        ///< micro-batches
  SummationTree tree_;      ///< of what is sent
  TreeBlock filling_{};     ///< what the gradient buffer holds
  std::vector<Kept> kept_;  ///< in order of micro-batches
  std::vector<at::Tensor> free_;
  std::vector<std::vector<size_t>> buckets_of_;  ///< of each parameter
  std::vector<size_t> gradients_of_;             ///< how many each bucket waits for
  std::vector<size_t> missing_;                  ///< how many each bucket still waits for
  std::vector<size_t> order_, ready_;
  std::vector<std::unique_ptr<Pending>> pending_;
  size_t sent_ = 0;
  bool last_ = false;   ///< whether gradients that arrive are the last
  bool early_ = false;  ///< whether they may be sent off while others are missing
  bool learned_ = false;
};

}  // namespace kessoku::runtime
