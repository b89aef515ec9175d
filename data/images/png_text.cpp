#include <fmt/format.h>

#include <array>
#include <optional>

#include "base/error.h"
#include "base/file.h"
#include "base/text_file.h"
#include "data/images/png.h"
#include "data/images/png_chunk.h"

namespace kessoku::data {

namespace {

constexpr size_t kMostText = 4u << 20;

std::array<uint32_t, 256> crc_table() {
  std::array<uint32_t, 256> table{};
  for (uint32_t byte = 0; byte < 256; ++byte) {
    uint32_t crc = byte;
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (0xEDB88320 & -(crc & 1));
    table[byte] = crc;
  }
  return table;
}

uint32_t big_endian(std::string_view bytes) {
  uint32_t value = 0;
  for (size_t i = 0; i < 4; ++i) value = value << 8 | static_cast<unsigned char>(bytes[i]);
  return value;
}

void append_big_endian(std::string& out, uint32_t value) {
  for (int shift = 24; shift >= 0; shift -= 8) out += static_cast<char>(value >> shift & 0xFF);
}

/// What a tEXt chunk holds; neither UTF-8 nor Windows-1252.
std::string latin1_to_utf8(std::string_view text) {
  std::string utf8;
  for (const char c : text) {
    const auto code = static_cast<unsigned char>(c);
    if (code < 0x80) {
      utf8 += c;
    } else {
      utf8 += static_cast<char>(0xC0 | code >> 6);
      utf8 += static_cast<char>(0x80 | (code & 0x3F));
    }
  }
  return utf8;
}

/// Cuts off what stands before the next zero byte, and that; nothing if there is none.
std::optional<std::string_view> take_field(std::string_view& data) {
  const size_t end = data.find('\0');
  if (end == std::string_view::npos) return std::nullopt;
  const std::string_view field = data.substr(0, end);
  data.remove_prefix(end + 1);
  return field;
}

/// Key and text of a tEXt or an uncompressed iTXt chunk; malformed ones are nobody's text.
void add_text(std::string_view type, std::string_view data, PngText& text) {
  const auto key = take_field(data);
  if (!key) return;
  if (type == "tEXt") {
    text.emplace(latin1_to_utf8(*key), latin1_to_utf8(data));
    return;
  }
  if (data.size() < 2 || data[0] != 0) return;  // compressed
  data.remove_prefix(2);
  if (take_field(data) && take_field(data)) text.emplace(latin1_to_utf8(*key), to_utf8(data));
}

PngText parse(std::string_view png) {
  if (!png.starts_with(kPngSignature)) throw DataError("not a PNG file");
  png.remove_prefix(kPngSignature.size());
  PngText text;
  size_t total = 0;
  while (true) {
    if (png.size() < 12) throw DataError("cut off");
    const size_t length = big_endian(png);
    if (length > png.size() - 12) throw DataError("cut off");
    const std::string_view typed = png.substr(4, 4 + length), type = typed.substr(0, 4);
    if (type == "IEND") return text;
    if (type == "tEXt" || type == "iTXt") {
      total += length;
      if (total > kMostText)
        throw DataError(fmt::format("holds more than {} MiB of text", kMostText >> 20));
      if (png_crc32(typed) != big_endian(png.substr(8 + length)))
        throw DataError(fmt::format("damaged: a {} chunk has a wrong checksum", type));
      add_text(type, typed.substr(4), text);
    }
    png.remove_prefix(12 + length);
  }
}

}  // namespace

uint32_t png_crc32(std::string_view bytes) {
  static const std::array<uint32_t, 256> table = crc_table();
  uint32_t crc = 0xFFFFFFFF;
  for (const char c : bytes) crc = crc >> 8 ^ table[(crc ^ static_cast<unsigned char>(c)) & 0xFF];
  return ~crc;
}

std::string png_chunk(std::string_view typed) {
  std::string chunk;
  append_big_endian(chunk, static_cast<uint32_t>(typed.size() - 4));
  chunk += typed;
  append_big_endian(chunk, png_crc32(typed));
  return chunk;
}

PngText read_png_text(const std::filesystem::path& path) {
  const MappedFile file(path);
  try {
    return parse({reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()});
  } catch (const DataError& error) {
    throw DataError(fmt::format("{}: {}", path.string(), error.what()));
  }
}

}  // namespace kessoku::data
