#pragma once

#include <memory>
#include <span>
#include <unordered_map>
#include <vector>

#include "runtime/communication/communicator.h"
#include "runtime/training/flat_parameters.h"
#include "runtime/training/partition.h"

namespace kessoku::runtime {

/// Weights on their way from the ranks that stepped them to all others (ZeRO-1), a bucket at a
/// time. The next forward need not wait for all of them: a layer's are awaited when it is its turn.
class ParameterGather {
 public:
  /// The references must outlive it.
  ParameterGather(const FlatParameters& flat, const Partition& partition,
                  Communicator& communicator);

  /// Sends what this rank has of a bucket, and gets what the others have. Collective.
  void send(size_t bucket);
  /// What is asked for next may read `used`; parameters that are not trained may be among them.
  /// Whether any of them were under way. Whether they arrived, `require_done` tells.
  bool order(std::span<const model::Parameter> used);
  bool order_all();
  /// Waits until all have arrived.
  void await_all();
  /// Of those that were ordered: waits for them. Throws Error.
  void require_done();

 private:
  bool order_bucket(size_t bucket);

  const FlatParameters& flat_;
  const Partition& partition_;
  Communicator& communicator_;
  std::unordered_map<const c10::TensorImpl*, Range> ranges_;  ///< of each parameter
  std::vector<std::unique_ptr<Pending>> pending_;             ///< of each bucket that is under way
  std::vector<std::unique_ptr<Pending>> ordered_;
};

}  // namespace kessoku::runtime
