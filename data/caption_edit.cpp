#include "data/caption_edit.h"

namespace kessoku::data {
namespace {

constexpr std::string_view kSeparator = ", ";

bool in_word(char byte) {
  const auto value = static_cast<unsigned char>(byte);
  const unsigned char lower = value | 0x20;
  return (lower >= 'a' && lower <= 'z') || (value >= '0' && value <= '9') || value == '_' ||
         value >= 0x80;
}

// Whether a word goes on across the gap before `place`.
bool joined(std::string_view text, size_t place) {
  return place > 0 && place < text.size() && in_word(text[place - 1]) && in_word(text[place]);
}

std::string rename_word(const std::string& caption, const std::string& from,
                        const std::string& to) {
  std::string result;
  size_t copied = 0;
  for (size_t place = caption.find(from); place != std::string::npos;) {
    const size_t end = place + from.size();
    if (joined(caption, place) || joined(caption, end)) {
      place = caption.find(from, place + 1);
      continue;
    }
    result.append(caption, copied, place - copied).append(to);
    copied = end;
    place = caption.find(from, end);
  }
  return result.append(caption, copied);
}

}  // namespace

std::string rename_words(std::string caption,
                         const std::vector<std::pair<std::string, std::string>>& renames) {
  for (const auto& [from, to] : renames) {
    if (!from.empty()) caption = rename_word(caption, from, to);
  }
  return caption;
}

std::string shuffle_tags(const std::string& caption, RandomStream random) {
  std::vector<std::string_view> parts;
  std::string_view rest = caption;
  for (size_t end = rest.find(kSeparator); end != rest.npos; end = rest.find(kSeparator)) {
    parts.push_back(rest.substr(0, end));
    rest.remove_prefix(end + kSeparator.size());
  }
  parts.push_back(rest);
  for (size_t left = parts.size() - 1; left > 1; --left) {
    std::swap(parts[left], parts[1 + random.below(left)]);
  }
  return fmt::format("{}", fmt::join(parts, kSeparator));
}

}  // namespace kessoku::data
