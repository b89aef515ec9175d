#pragma once

#include <cstdint>

namespace kessoku::data {

/// Pixels beyond which an image is taken for a decompression bomb. The largest cameras have 200
/// million.
inline constexpr uint64_t kMostPixels = 200'000'000;

}  // namespace kessoku::data
