#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <unordered_set>

namespace kessoku::data {

/// Whether `bytes` are well-formed UTF-8 (no surrogates, no overlong forms).
bool is_utf8(std::string_view bytes);

/// Every byte as the character of that number. Never fails.
std::string latin1_to_utf8(std::string_view bytes);

/// Without white space and byte order mark at both ends.
std::string strip(std::string_view text);

struct Caption {
  std::string text;     ///< UTF-8, stripped
  std::string warning;  ///< empty if all was well; names no file
};

/// The caption of the image `file_name` in `folder`: the first that is not empty of `<stem>.txt`,
/// `<stem>.caption` and the file name before its first underscore. Text that is not UTF-8 is read
/// as Latin-1, with a warning. `files` are the names in the folder.
Caption read_caption(const std::filesystem::path& folder, const std::string& file_name,
                     const std::unordered_set<std::string>& files);

}  // namespace kessoku::data
