#pragma once

#include <map>

#include "data/images/image.h"

namespace kessoku::data {

/// Key → text, UTF-8. Bytes that are not (names of files may hold any) are written as to_utf8 reads
/// them.
using PngText = std::map<std::string, std::string>;

/// A PNG file's content, with `text` as its metadata (iTXt). Keys have 1 to 79 characters of
/// Latin-1.
std::string encode_png(const Image& image, const PngText& text = {});

/// Writes a PNG over what may be there. Atomic.
void write_png(const std::filesystem::path& path, const Image& image, const PngText& text = {});

/// The metadata of a PNG file: its uncompressed iTXt and its tEXt chunks, the first of each key.
/// Throws UsageError if the file is not there, DataError naming it if it is no PNG, is cut off, has
/// a chunk with a wrong checksum, or holds more than 4 MiB of text.
PngText read_png_text(const std::filesystem::path& path);

}  // namespace kessoku::data
