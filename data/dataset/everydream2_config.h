#pragma once

#include <functional>

#include "data/captions/caption_parts.h"
#include "data/dataset/dataset.h"
#include "data/documents/node.h"

namespace kessoku::data {

/// What one source (a folder's files, a sidecar, an entry of a manifest) says about images, in
/// EveryDream2's terms. What is not set is left to other sources.
struct ImageConfig {
  std::vector<std::string> main_prompts{};  ///< the first one counts
  std::vector<CaptionPart> tags{};
  std::optional<double> multiply{};
  std::optional<double> caption_dropout{};
  std::optional<double> flip{};
  std::optional<double> loss_scale{};
  std::optional<uint32_t> longest_caption{};
  std::optional<std::string> batch_id{};
  bool shuffle_tags = false;
};

/// Where a config is read from, and what is said about it.
struct ConfigSource {
  std::string file;              ///< for errors
  std::filesystem::path root{};  ///< of the dataset: what `caption` names lies within
  /// `line` is 0 where none is meant.
  std::function<void(uint64_t line, const std::string& what)> warn{};
};

/// What `later` says wins; its prompts and tags come first, and what is there twice collapses.
void overlay(ImageConfig& config, const ImageConfig& later);

/// "main prompt, tag, tag": split at commas, parts stripped, empty ones left out.
ImageConfig config_from_text(const std::string& text);

/// A map with EveryDream2's keys (data/dataset/everydream2_config.cpp lists them); other keys are
/// warned about. A null value is an empty config. Throws DataError naming file and line for values
/// that do not fit.
ImageConfig config_from_document(const Value& value, const ConfigSource& source);

/// A caption or YAML file by its extension. Nothing, and a warning, for a caption file that cannot
/// be read. Throws DataError for a YAML file that is damaged.
std::optional<ImageConfig> config_from_file(const std::filesystem::path& path,
                                            const ConfigSource& source);

/// The first main prompt and the tags, those of more weight first.
std::vector<CaptionPart> parts_of(const ImageConfig& config);
Settings settings_of(const ImageConfig& config);

}  // namespace kessoku::data
