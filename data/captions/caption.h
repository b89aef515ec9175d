#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace kessoku::data {

/// Whether `bytes` are well-formed UTF-8 (no surrogates, no overlong forms).
bool is_utf8(std::string_view bytes);

/// Every byte as the character of that number. Never fails.
std::string latin1_to_utf8(std::string_view bytes);

/// Without white space (Unicode's) and byte order mark at both ends.
std::string strip(std::string_view text);

/// A text file's content as UTF-8.
struct Text {
  std::string text;     ///< without byte order mark, with "\n" at the ends of lines
  std::string warning;  ///< empty if it was UTF-8, or UTF-16 with a mark
};

/// What is neither is taken as Latin-1, which never fails, with a warning.
Text decode_text(std::string_view bytes);

/// A caption file. Throws DataError if it cannot be read or is larger than any caption.
Text read_text_file(const std::filesystem::path& path);

/// What a file name says: the part before its first underscore, without the extension.
struct NameCaption {
  std::string text;
  bool cut;  ///< the underscore cut off words, not just a number
};
NameCaption file_name_caption(const std::string& file_name);

/// Canonical composition (NFC) of UTF-8: what a person sees as one name is one. Other bytes are
/// taken as Latin-1.
std::string compose(const std::string& text);

/// `file_name` up to its last dot, and from there on in lower case (ASCII).
std::string stem_of(const std::string& file_name);
std::string extension_of(const std::string& file_name);

}  // namespace kessoku::data
