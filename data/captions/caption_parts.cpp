#include "data/captions/caption_parts.h"

#include <fmt/format.h>

#include <cmath>

#include "base/error.h"
#include "base/json.h"

namespace kessoku::data {

using nlohmann::json;

namespace {

constexpr std::string_view kSeparator = ", ";

std::vector<CaptionPart> split(std::string_view caption) {
  std::vector<CaptionPart> parts;
  for (size_t end = caption.find(kSeparator); end != caption.npos; end = caption.find(kSeparator)) {
    parts.push_back({std::string(caption.substr(0, end))});
    caption.remove_prefix(end + kSeparator.size());
  }
  parts.push_back({std::string(caption)});
  return parts;
}

CaptionPart part_from_json(const json& entry) {
  if (entry.is_string()) return {entry.get<std::string>()};
  if (!entry.is_array() || entry.size() != 2) throw DataError("parts of a caption are damaged");
  const CaptionPart part{entry[0].get<std::string>(), entry[1].get<double>()};
  if (!(part.weight >= 0) || std::isinf(part.weight)) throw DataError("a tag's weight is damaged");
  return part;
}

}  // namespace

std::string join_parts(const std::vector<CaptionPart>& parts) {
  std::string caption;
  for (const CaptionPart& part : parts) {
    if (&part != &parts.front()) caption += kSeparator;
    caption += part.text;
  }
  return caption;
}

std::vector<CaptionPart> join_first(std::vector<CaptionPart> parts, size_t count) {
  count = std::min(count, parts.size() - 1);
  if (count == 0) return parts;
  const auto end = parts.begin() + static_cast<int64_t>(count) + 1;
  parts.front().text = join_parts({parts.begin(), end});
  parts.erase(parts.begin() + 1, end);
  return parts;
}

std::string encode_parts(const std::vector<CaptionPart>& parts) {
  if (parts.empty() || split(join_parts(parts)) == parts) return {};
  json encoded = json::array();
  for (const CaptionPart& part : parts) {
    encoded.push_back(part.weight == 1 ? json(part.text) : json::array({part.text, part.weight}));
  }
  return to_text(encoded);
}

std::vector<CaptionPart> caption_parts(const std::string& caption, const std::string& encoded) {
  if (encoded.empty()) return split(caption);
  try {
    std::vector<CaptionPart> parts;
    for (const json& entry : kessoku::parse_json(encoded, "parts of a caption"))
      parts.push_back(part_from_json(entry));
    if (parts.empty()) throw DataError("a caption has no parts");
    return parts;
  } catch (const json::exception& error) {
    throw DataError(fmt::format("parts of a caption are damaged: {}", error.what()));
  }
}

}  // namespace kessoku::data
