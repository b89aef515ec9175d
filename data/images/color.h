#pragma once

#include <array>
#include <cstdint>
#include <string>

namespace kessoku::data {

/// 8-bit sRGB.
using Color = std::array<uint8_t, 3>;
constexpr Color kWhite{255, 255, 255};

/// "white", "black", "grey", "#rrggbb", or three numbers from 0 to 255 as "255,255,255". Throws
/// UsageError.
Color parse_color(const std::string& text);

}  // namespace kessoku::data
