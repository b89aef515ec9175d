#include "data/dataset/screenshot_metadata.h"

#include <algorithm>

#include "data/captions/caption.h"
#include "data/captions/caption_parts.h"

namespace kessoku::data {

namespace {

constexpr size_t kMostTags = 15;  ///< the pipeline's own limit

class MetadataReader {
 public:
  MetadataReader(const std::string& file, const Value& metadata)
      : file_(file), metadata_(metadata) {}

  std::string caption() const {
    if (const std::string caption = text("caption"); !caption.empty()) return caption;
    std::vector<CaptionPart> parts;
    const auto add = [&](const std::string& part) {
      if (!part.empty()) parts.push_back({part});
    };
    add(words({"characters", "character"}, {"unknown", "ood"}));
    add(text("general"));
    add(text("type"));
    if (const std::string artist = words({"artist"}, {"anonymous"}); !artist.empty())
      add("style of " + artist);
    for (const std::string& tag : tags()) add(tag);
    std::string caption = join_parts(parts);
    std::ranges::replace(caption, '_', ' ');
    return caption;
  }

 private:
  const Value* find(const char* key) const {
    const Value* value = metadata_.find(key);
    return value == nullptr || value->is_null() ? nullptr : value;
  }

  std::string text(const char* key) const {
    const Value* value = find(key);
    return value == nullptr ? "" : strip(Located{file_, *value}.text(key));
  }

  /// A list of texts, or a text that is a list of one.
  std::vector<std::string> list(const char* key) const {
    const Value* value = find(key);
    if (value == nullptr) return {};
    if (value->kind == Value::Kind::kMap) return by_score(*value);
    if (value->kind == Value::Kind::kScalar) return {Located{file_, *value}.text(key)};
    std::vector<std::string> texts;
    for (const Value& item : value->items) texts.push_back(Located{file_, item}.text(key));
    return texts;
  }

  /// {tag: score}, the surest first.
  std::vector<std::string> by_score(const Value& map) const {
    std::vector<std::pair<double, std::string>> scored;
    for (size_t i = 0; i < map.keys.size(); ++i) {
      scored.emplace_back(Located{file_, map.items[i]}.number("a tag's score", -1e300, 1e300),
                          map.keys[i]);
    }
    std::ranges::stable_sort(scored, std::greater<>(), &std::pair<double, std::string>::first);
    std::vector<std::string> tags;
    for (auto& [score, tag] : scored) tags.push_back(std::move(tag));
    return tags;
  }

  /// What the first key that is there lists, but for words that mean "nobody knows".
  std::string words(std::initializer_list<const char*> keys,
                    std::initializer_list<std::string_view> nobody) const {
    for (const char* key : keys) {
      std::string joined;
      for (const std::string& word : list(key)) {
        if (word.empty() || std::ranges::find(nobody, word) != nobody.end()) continue;
        joined += (joined.empty() ? "" : " ") + word;
      }
      if (!joined.empty()) return joined;
    }
    return {};
  }

  /// Those about the number of people first.
  std::vector<std::string> tags() const {
    std::vector<std::string> tags = list("processed_tags");
    if (tags.empty()) tags = list("tags");
    std::ranges::stable_partition(tags, [](const std::string& tag) {
      return tag.find("boy") != tag.npos || tag.find("girl") != tag.npos ||
             tag.find("solo") != tag.npos;
    });
    if (tags.size() > kMostTags) tags.resize(kMostTags);
    return tags;
  }

  const std::string& file_;
  const Value& metadata_;
};

}  // namespace

std::string caption_from_metadata(const std::string& file, const Value& metadata) {
  if (metadata.kind != Value::Kind::kMap) Located{file, metadata}.fail("not a map, {...}");
  return MetadataReader(file, metadata).caption();
}

}  // namespace kessoku::data
