#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace kessoku::data {

/// The eight bytes that begin a PNG file.
constexpr std::string_view kPngSignature("\x89PNG\r\n\x1a\n", 8);

/// CRC-32 of a PNG chunk's type and data (ISO 3309).
uint32_t png_crc32(std::string_view bytes);

/// A whole chunk of `typed`, its type's four letters and its data: length, `typed`, checksum.
std::string png_chunk(std::string_view typed);

}  // namespace kessoku::data
