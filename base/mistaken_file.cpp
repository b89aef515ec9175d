#include "base/mistaken_file.h"

#include <fmt/format.h>

#include <algorithm>

namespace kessoku {

namespace {

constexpr std::string_view kMark = "\xEF\xBB\xBF";  // of UTF-8

bool is_text(std::string_view bytes) {
  return std::ranges::all_of(bytes, [](unsigned char c) { return c >= 0x20 || c == '\t'; });
}

}  // namespace

std::string explain_mistaken(std::string_view content) {
  if (content.empty()) return "the file is empty";
  if (content.starts_with(kMark)) content.remove_prefix(kMark.size());
  content.remove_prefix(std::min(content.find_first_not_of(" \t\r\n"), content.size()));
  if (content.starts_with("version https://git-lfs"))
    return "a Git LFS pointer, not the file itself; fetch it with `git lfs pull`";
  if (content.starts_with("<!") || content.starts_with("<html") || content.starts_with("<HTML") ||
      content.starts_with("<?xml"))
    return "a web page, not the file itself; download it again, as the site's \"raw\" file";
  for (const char* said : {"Entry not found", "Invalid username or password", "Access to model",
                           "Repository not found", "{\"error\""}) {
    if (!content.starts_with(said)) continue;
    const std::string_view line = content.substr(0, std::min(content.find('\n'), size_t{80}));
    return is_text(line)
               ? fmt::format("what a server said (\"{}\"), not the file itself; download it again",
                             line)
               : std::string();
  }
  return {};
}

}  // namespace kessoku
