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
};

/// Sums gradients over ranks while backward still runs. A hook at each parameter tells when its
/// gradient is there; a bucket whose gradients all are is sent off, in an order that all ranks
/// share: at first from the last parameters to the first, then the order in which rank 0's buckets
/// were ready in the first step.
class GradientReducer {
 public:
  /// The references must outlive the reducer. Hooks stay until it is destroyed. Collective.
  GradientReducer(FlatParameters& flat, const Partition& partition, const ReducerOptions& options,
                  Communicator& communicator);
  GradientReducer(const GradientReducer&) = delete;
  GradientReducer& operator=(const GradientReducer&) = delete;
  ~GradientReducer();

  /// Before a micro-batch's backward; gradients are sent off only in the `last` one of a step.
  void prepare(bool last);
  /// After the last backward: sends what is left, and waits. Then the gradient buffer holds the
  /// sums, all of them or in this rank's parts.
  void finish();

  /// Buckets in the order in which they are sent.
  const std::vector<size_t>& order() const { return order_; }

 private:
  class Hook;
  void on_gradient(size_t parameter);
  void send_ready();
  void send(size_t bucket);
  void learn_order();

  FlatParameters& flat_;
  const Partition& partition_;
  ReducerOptions options_;
  Communicator& communicator_;
  std::vector<std::vector<size_t>> buckets_of_;  ///< of each parameter
  std::vector<size_t> gradients_of_;             ///< how many each bucket waits for
  std::vector<size_t> missing_;                  ///< how many each bucket still waits for
  std::vector<size_t> order_, ready_;
  std::vector<std::unique_ptr<Pending>> pending_;
  size_t sent_ = 0;
  bool armed_ = false;
  bool learned_ = false;
};

}  // namespace kessoku::runtime
