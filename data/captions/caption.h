#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "base/text_file.h"

namespace kessoku::data {

/// Without white space (Unicode's) and byte order mark at both ends.
std::string strip(std::string_view text);

/// Throws DataError if it is larger than any caption; else as kessoku::read_text_file.
Text read_caption_file(const std::filesystem::path& path);

/// What a file name says: the part before its first underscore, without the extension.
struct NameCaption {
  std::string text;
  bool cut;  ///< the underscore cut off words, not just a number
};
NameCaption file_name_caption(const std::string& file_name);

/// Canonical composition (NFC) of UTF-8: what a person sees as one name is one. Other bytes are
/// read as to_utf8 reads them.
std::string compose(const std::string& text);

/// `file_name` up to its last dot, and from there on in lower case (ASCII).
std::string stem_of(const std::string& file_name);
std::string extension_of(const std::string& file_name);

}  // namespace kessoku::data
