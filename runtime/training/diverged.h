#pragma once

#include "base/error.h"

namespace kessoku::runtime {

/// The loss, its gradient or the weights have become infinite or NaN. Thrown on all ranks.
class Diverged : public UsageError {
 public:
  using UsageError::UsageError;
};

}  // namespace kessoku::runtime
