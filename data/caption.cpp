#include "data/caption.h"

#include <fmt/format.h>

#include "base/error.h"
#include "base/file.h"

namespace kessoku::data {

namespace {

/// No caption that a person wrote is longer; a mistaken file is not read into memory.
constexpr uint64_t kLongest = 1 << 20;

bool is_continuation(unsigned char byte) { return (byte & 0xC0) == 0x80; }

/// Length of the well-formed sequence at the start of `bytes`, 0 if it is none (Unicode 15, table
/// 3-7).
size_t sequence_length(std::string_view bytes) {
  const auto at = [&](size_t i) { return static_cast<unsigned char>(bytes[i]); };
  const unsigned char lead = at(0);
  if (lead < 0x80) return 1;
  const size_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  if (lead < 0xC2 || lead > 0xF4 || bytes.size() < length) return 0;
  for (size_t i = 1; i < length; ++i) {
    if (!is_continuation(at(i))) return 0;
  }
  const bool overlong = (lead == 0xE0 && at(1) < 0xA0) || (lead == 0xF0 && at(1) < 0x90);
  const bool surrogate = lead == 0xED && at(1) > 0x9F;
  const bool beyond = lead == 0xF4 && at(1) > 0x8F;
  return overlong || surrogate || beyond ? 0 : length;
}

}  // namespace

bool is_utf8(std::string_view bytes) {
  while (!bytes.empty()) {
    const size_t length = sequence_length(bytes);
    if (length == 0) return false;
    bytes.remove_prefix(length);
  }
  return true;
}

std::string latin1_to_utf8(std::string_view bytes) {
  std::string text;
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x80) {
      text += c;
    } else {
      text += static_cast<char>(0xC0 | byte >> 6);
      text += static_cast<char>(0x80 | (byte & 0x3F));
    }
  }
  return text;
}

std::string strip(std::string_view text) {
  constexpr std::string_view kMark = "\xEF\xBB\xBF";
  constexpr std::string_view kSpace = " \t\r\n\v\f";
  if (text.starts_with(kMark)) text.remove_prefix(kMark.size());
  const size_t begin = text.find_first_not_of(kSpace);
  if (begin == std::string_view::npos) return {};
  return std::string(text.substr(begin, text.find_last_not_of(kSpace) - begin + 1));
}

Caption read_caption(const std::filesystem::path& folder, const std::string& file_name,
                     const std::unordered_set<std::string>& files) {
  Caption caption;
  const auto use = [&](std::string_view bytes, const std::string& where) {
    if (!is_utf8(bytes)) {
      caption.warning = fmt::format("{} is not UTF-8, read as Latin-1", where);
      caption.text = strip(latin1_to_utf8(bytes));
    } else {
      caption.text = strip(bytes);
    }
    return !caption.text.empty();
  };
  const std::string stem = file_name.substr(0, file_name.rfind('.'));
  for (const char* extension : {".txt", ".caption"}) {
    const std::string sidecar = stem + extension;
    if (!files.contains(sidecar)) continue;
    try {
      if (use(read_file(folder / sidecar, kLongest), sidecar)) return caption;
    } catch (const Error& error) {
      caption.warning = fmt::format("caption ignored: {}", error.what());
    }
  }
  use(stem.substr(0, stem.find('_')), "the file name");
  return caption;
}

}  // namespace kessoku::data
