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
  /// Waits until `used` may be read; parameters that are not trained may be among them.
  void await(std::span<const model::Parameter> used);
  void await_all();
  /// Seconds since the last call in which there was nothing to do but wait.
  double take_waited_seconds();

 private:
  void await_bucket(size_t bucket);

  const FlatParameters& flat_;
  const Partition& partition_;
  Communicator& communicator_;
  std::unordered_map<const c10::TensorImpl*, Range> ranges_;  ///< of each parameter
  std::vector<std::unique_ptr<Pending>> pending_;             ///< of each bucket that is under way
  double waited_ = 0;
};

}  // namespace kessoku::runtime
