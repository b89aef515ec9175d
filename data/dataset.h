#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace kessoku::data {

enum class Dialect { kEveryDream2 };

/// Throws UsageError on an unknown name, with the nearest one.
Dialect parse_dialect(const std::string& name);
std::string to_string(Dialect dialect);

/// A folder of the dataset. Categories are all folders, by path relative to the root (the root is
/// ".").
struct Category {
  std::string path;
  double multiply = 1;  ///< multiply.txt: relative weight of each of the folder's own images
  std::optional<double> caption_dropout{};  ///< cond_dropout.txt
  std::optional<double> flip{};             ///< flip_p.txt
};

/// One image with its caption.
struct Example {
  std::string source;     ///< path relative to the root, "/" between folders
  std::string caption;    ///< UTF-8
  uint32_t category = 0;  ///< index of the folder that holds the image
};

/// An image that cannot be used, and why.
struct Skipped {
  std::string source;
  std::string reason;
};

struct Dataset {
  std::filesystem::path root;
  std::vector<Category> categories;  ///< sorted by path; the root first
  std::vector<Example> examples;     ///< sorted by source
  std::vector<Skipped> skipped;
  std::vector<std::string> warnings;
};

/// Reads the folder tree: images, captions (sidecars, file names) and weights, in the semantics of
/// `dialect`. Does not open images. Throws UsageError if `root` is not a folder or holds no image.
Dataset scan_dataset(const std::filesystem::path& root, Dialect dialect);

}  // namespace kessoku::data
