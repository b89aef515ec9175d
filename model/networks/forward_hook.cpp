#include "model/networks/forward_hook.h"

namespace kessoku::model {

void ForwardHook::announce(size_t index, const Parameters& parameters) const {
  if (!before_use) return;
  const size_t begin = index == 0 ? 0 : ends_[index - 1];
  before_use(std::span(parameters).subspan(begin, ends_[index] - begin));
}

}  // namespace kessoku::model
