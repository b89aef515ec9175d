#include "data/dataset/everydream2_config.h"

#include <fmt/format.h>

#include <cmath>
#include <set>
#include <unordered_set>

#include "base/error.h"
#include "base/folder.h"
#include "data/captions/caption.h"

namespace kessoku::data {

namespace fs = std::filesystem;

namespace {

constexpr int kDeepestCaption = 8;  ///< captions that are maps with a caption …
const std::vector<std::string> kKeys{"image",    "main_prompt",  "tags",   "caption",
                                     "multiply", "cond_dropout", "flip_p", "loss_scale",
                                     "batch_id", "shuffle_tags", "rating", "max_caption_length"};

template <typename T>
void set_later(std::optional<T>& value, const std::optional<T>& later) {
  if (later) value = later;
}

/// `later` before `earlier`, each once.
std::vector<std::string> unite(const std::vector<std::string>& later,
                               const std::vector<std::string>& earlier) {
  std::vector<std::string> result;
  std::unordered_set<std::string_view> seen;
  for (const auto* list : {&later, &earlier}) {
    for (const std::string& text : *list) {
      if (seen.insert(text).second) result.push_back(text);
    }
  }
  return result;
}

std::vector<CaptionPart> unite(const std::vector<CaptionPart>& later,
                               const std::vector<CaptionPart>& earlier) {
  std::vector<CaptionPart> result;
  std::set<std::pair<std::string_view, double>> seen;
  for (const auto* list : {&later, &earlier}) {
    for (const CaptionPart& tag : *list) {
      if (seen.emplace(tag.text, tag.weight).second) result.push_back(tag);
    }
  }
  return result;
}

class ImageConfigReader {
 public:
  explicit ImageConfigReader(const ConfigSource& source) : source_(source) {}

  ImageConfig read(const Value& value, int depth = 0) const {
    if (value.is_null()) return {};
    if (value.kind != Value::Kind::kMap) at(value).fail("not a map of keys such as 'multiply: 2'");
    ImageConfig config;
    const Value* caption = nullptr;
    for (size_t i = 0; i < value.keys.size(); ++i) {
      const Value& entry = value.items[i];
      if (value.keys[i] == "caption") caption = &entry;
      if (!entry.is_null()) read_key(value.keys[i], entry, config);
    }
    if (caption != nullptr && !caption->is_null()) overlay(config, read_caption(*caption, depth));
    return config;
  }

 private:
  Located at(const Value& value) const { return {source_.file, value}; }
  void warn(const Value& value, const std::string& what) const { source_.warn(value.line, what); }

  void read_key(const std::string& key, const Value& value, ImageConfig& config) const {
    const Located here = at(value);
    if (key == "main_prompt") {
      config.main_prompts = read_prompts(value);
    } else if (key == "tags") {
      config.tags = read_tags(value);
    } else if (key == "multiply") {
      config.multiply = here.number("multiply", 0, HUGE_VAL);
    } else if (key == "cond_dropout") {
      config.caption_dropout = here.number("cond_dropout", 0, 1);
    } else if (key == "cond_droput") {
      config.caption_dropout = here.number("cond_droput", 0, 1);
      warn(value,
           "cond_droput, as EveryDream2's guide has it, is read as cond_dropout; "
           "EveryDream2 itself ignores it");
    } else if (key == "flip_p") {
      config.flip = here.number("flip_p", 0, 1);
    } else if (key == "loss_scale") {
      config.loss_scale = here.number("loss_scale", -HUGE_VAL, HUGE_VAL);
    } else if (key == "max_caption_length") {
      config.longest_caption =
          static_cast<uint32_t>(here.number("max_caption_length", 0, 1u << 30));
    } else if (key == "batch_id") {
      config.batch_id = strip(here.text("batch_id"));
    } else if (key == "shuffle_tags") {
      config.shuffle_tags = here.truth("shuffle_tags");
    } else if (std::ranges::find(kKeys, key) == kKeys.end()) {
      const std::string near = nearest_word(key, kKeys);
      warn(value, fmt::format("unknown key '{}' ignored{}", key.substr(0, 40),
                              near.empty() ? "" : fmt::format("; did you mean '{}'?", near)));
    }
  }

  std::vector<std::string> read_prompts(const Value& value) const {
    std::vector<std::string> prompts;
    const auto add = [&](const Value& prompt) {
      std::string text = at(prompt).text("main_prompt");
      if (!text.empty() && !prompt.is_null()) prompts.push_back(std::move(text));
    };
    if (value.kind == Value::Kind::kList) {
      for (const Value& prompt : value.items) add(prompt);
    } else {
      add(value);
    }
    return unite(prompts, {});
  }

  std::vector<CaptionPart> read_tags(const Value& value) const {
    if (value.kind == Value::Kind::kScalar) {
      warn(value, "tags is a text, split at its commas (EveryDream2 would take its letters)");
      ImageConfig text = config_from_text("," + value.text);
      return text.tags;
    }
    if (value.kind != Value::Kind::kList) at(value).fail("tags must be a list");
    std::vector<CaptionPart> tags;
    for (const Value& entry : value.items) {
      if (entry.is_null()) continue;
      CaptionPart tag =
          entry.kind == Value::Kind::kMap ? read_tag(entry) : CaptionPart{at(entry).text("a tag")};
      if (!tag.text.empty()) tags.push_back(std::move(tag));
    }
    return unite(tags, {});
  }

  /// {tag, weight}
  CaptionPart read_tag(const Value& entry) const {
    const Value *text = entry.find("tag"), *weight = entry.find("weight");
    if (text == nullptr) at(entry).fail("a tag needs the key 'tag'");
    CaptionPart tag{at(*text).text("tag")};
    if (weight != nullptr && !weight->is_null())
      tag.weight = at(*weight).number("weight", 0, HUGE_VAL);
    return tag;
  }

  /// A map like the one it stands in, the name of a file, or a text.
  ImageConfig read_caption(const Value& value, int depth) const {
    if (depth == kDeepestCaption) at(value).fail("captions within captions");
    if (value.kind == Value::Kind::kMap) return read(value, depth + 1);
    const std::string text = at(value).text("caption");
    if (const auto path = caption_file(text)) {
      const std::string name = path->string();
      ConfigSource source{name, source_.root, [&](uint64_t line, const std::string& what) {
                            source_.warn(0, fmt::format("{}:{}: {}", name, line, what));
                          }};
      if (extension_of(name) == ".txt" || extension_of(name) == ".caption")
        return config_from_file(*path, source).value_or(ImageConfig{});
      return ImageConfigReader(source).read(read_document(*path, source), depth + 1);
    }
    return config_from_text(text);
  }

  static Value read_document(const fs::path& path, const ConfigSource& source) {
    const auto warn = [&](const std::string& what) { source.warn(0, what); };
    return extension_of(path.string()) == ".json" ? read_json(path, warn) : read_yaml(path, warn);
  }

  /// The file that a caption names, if it does: relative to the dataset's root, and within it.
  std::optional<fs::path> caption_file(const std::string& text) const {
    static const std::set<std::string> kExtensions{".txt", ".caption", ".yaml", ".yml", ".json"};
    if (source_.root.empty() || text.size() > 1000 || !kExtensions.contains(extension_of(text)))
      return std::nullopt;
    if (text.find('\0') != text.npos || !is_file(source_.root / text)) return std::nullopt;
    const fs::path path = fs::canonical(source_.root / text);
    const fs::path within = path.lexically_relative(fs::canonical(source_.root));
    if (within.empty() || *within.begin() == "..") return std::nullopt;
    return path;
  }

  const ConfigSource& source_;
};

}  // namespace

void overlay(ImageConfig& config, const ImageConfig& later) {
  if (!later.main_prompts.empty())
    config.main_prompts = unite(later.main_prompts, config.main_prompts);
  if (!later.tags.empty()) config.tags = unite(later.tags, config.tags);
  set_later(config.multiply, later.multiply);
  set_later(config.caption_dropout, later.caption_dropout);
  set_later(config.flip, later.flip);
  set_later(config.loss_scale, later.loss_scale);
  set_later(config.longest_caption, later.longest_caption);
  set_later(config.batch_id, later.batch_id);
  config.shuffle_tags |= later.shuffle_tags;
}

ImageConfig config_from_text(const std::string& text) {
  ImageConfig config;
  size_t begin = 0;
  for (bool first = true; begin <= text.size(); first = false) {
    const size_t end = std::min(text.find(',', begin), text.size());
    std::string part = strip(std::string_view(text).substr(begin, end - begin));
    begin = end + 1;
    if (part.empty()) continue;
    if (first) {
      config.main_prompts = {std::move(part)};
    } else {
      config.tags.push_back({std::move(part)});
    }
  }
  config.tags = unite(config.tags, {});
  return config;
}

ImageConfig config_from_document(const Value& value, const ConfigSource& source) {
  return ImageConfigReader(source).read(value);
}

std::optional<ImageConfig> config_from_file(const fs::path& path, const ConfigSource& source) {
  const std::string extension = extension_of(path.filename().string());
  if (extension == ".yaml" || extension == ".yml") {
    const auto warn = [&](const std::string& what) { source.warn(0, what); };
    return config_from_document(read_yaml(path, warn), source);
  }
  try {
    const Text text = read_caption_file(path);
    if (!text.warning.empty()) source.warn(0, text.warning);
    ImageConfig config = config_from_text(text.text);
    if (config.main_prompts.empty()) source.warn(0, "empty, so another file or the name counts");
    return config;
  } catch (const DataError&) {
    source.warn(0, "no file of text, or too large for a caption; ignored");
    return std::nullopt;
  }
}

std::vector<CaptionPart> parts_of(const ImageConfig& config) {
  std::vector<CaptionPart> parts = config.tags;
  std::ranges::stable_sort(parts, std::greater<>(), &CaptionPart::weight);
  if (!config.main_prompts.empty()) parts.insert(parts.begin(), {config.main_prompts.front()});
  return parts;
}

Settings settings_of(const ImageConfig& config) {
  Settings settings;
  settings.multiply = config.multiply.value_or(1);
  settings.caption_dropout = config.caption_dropout;
  settings.flip = config.flip;
  settings.loss_scale = config.loss_scale.value_or(1);
  settings.shuffle_tags = config.shuffle_tags;
  settings.longest_caption = config.longest_caption.value_or(0);
  settings.batch_id = config.batch_id.value_or("");
  return settings;
}

}  // namespace kessoku::data
