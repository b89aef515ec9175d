#pragma once

#include <cstdint>

namespace kessoku::model {

// What `kessoku sample` and the sample prompts of a run take at most.
inline constexpr int64_t kMostSteps = 999;
inline constexpr double kMostCfg = 100;
inline constexpr int64_t kMostPixels = 32768;  ///< of a side

}  // namespace kessoku::model
