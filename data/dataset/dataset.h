#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "data/dataset/dialect_table.h"
#include "data/images/bucket.h"

namespace kessoku::data {

/// Throws UsageError on an unknown name, with the nearest one.
Dialect parse_dialect(const std::string& name);
std::string to_string(Dialect dialect);

/// What a dataset says about the use of an image, beyond its caption.
struct Settings {
  double multiply = 1;                      ///< relative weight of the image; 0: never drawn
  std::optional<double> caption_dropout{};  ///< probability; else the run's
  std::optional<double> flip{};             ///< probability; else the run's
  double loss_scale = 1;                    ///< factor on the loss of a draw
  bool shuffle_tags = false;                ///< also if the run does not ask for it
  uint32_t longest_caption = 0;  ///< characters of a caption whose tags are shuffled; 0: any number
  std::string batch_id{};        ///< images of one family share their batches; "" is one, too
  bool operator==(const Settings&) const = default;
};

/// A folder of the dataset. Categories are all folders, by path relative to the root (the root is
/// ".").
struct Category {
  std::string path;
  /// What the folder says about each of its own images. For people: what holds for an image, which
  /// may have settings of its own, is `Dataset::settings`.
  double multiply = 1;
  std::optional<double> caption_dropout{};
  std::optional<double> flip{};
  /// Relative weight among its siblings (weight CSV of the screenshot-pipeline dialect). If
  /// categories have one, shares go down the tree by it and `multiply` is not used; a folder's own
  /// images are one more child, of the folder's own weight.
  std::optional<double> weight{};
};

/// One image with its caption.
struct Example {
  std::string source;     ///< path relative to the root, "/" between folders
  std::string caption;    ///< UTF-8
  uint32_t category = 0;  ///< index of the folder that holds the image
  uint32_t settings = 0;  ///< index into Dataset::settings
  /// The caption's parts where they are not what stands between its ", ": see
  /// data/captions/caption_parts.h. Most often empty.
  std::string caption_parts{};
  std::optional<Bucket> size{};  ///< that the dataset asks for; else the nearest bucket
  std::string latents{};  ///< a file with the image's latents, relative to the root; may be empty
};

/// An image that cannot be used, and why.
struct Skipped {
  std::string source;
  std::string reason;
};

struct Dataset {
  std::filesystem::path root;
  std::vector<Category> categories;  ///< sorted by path; the root first
  std::vector<Settings> settings;    ///< all different
  std::vector<Example> examples;     ///< sorted by source
  std::vector<Skipped> skipped;
  std::vector<std::string> warnings;
};

struct DatasetOptions {
  Dialect dialect = Dialect::kEveryDream2;
  std::filesystem::path weights{};  ///< weight CSV (screenshot-pipeline); empty: none
  /// Given what was warned of before an error, just before that is thrown: it often says why.
  std::function<void(const std::vector<std::string>& warnings)> on_failure{};
};

/// Reads a folder tree (or, for EveryDream2 and kohya, a JSON manifest of images): images, captions
/// (sidecars, file names) and weights, in the semantics of the dialect. Does not open images.
/// Throws UsageError if there is nothing at `root` or no image in it.
Dataset scan_dataset(const std::filesystem::path& root, const DatasetOptions& options);

}  // namespace kessoku::data
