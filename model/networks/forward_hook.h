#pragma once

#include <functional>
#include <span>

#include "model/networks/parameter.h"

namespace kessoku::model {

/// Called in a forward pass when it comes to a block, with the parameters that it will read.
using BeforeUse = std::function<void(std::span<const Parameter>)>;

/// Which of a network's parameters belong to which block, in the order of forward. Whoever fills
/// weights in the background is told by it which ones are needed next.
class ForwardHook {
 public:
  /// While a network is built: what was added to `parameters` since the last call is a block.
  void end_block(const Parameters& parameters) { ends_.push_back(parameters.size()); }
  /// Forward comes to block `index` of `parameters`.
  void announce(size_t index, const Parameters& parameters) const;

  BeforeUse before_use;  ///< empty: nobody wants to know

 private:
  std::vector<size_t> ends_;
};

}  // namespace kessoku::model
