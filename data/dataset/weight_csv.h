#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace kessoku::data {

/// The CSV of weights of anime_screenshot_pipeline: a pattern and a weight a line, no header.
class WeightCsv {
 public:
  /// Of two lines with the same pattern the later one's weight counts, at the place of the first.
  /// Throws UsageError if the file is not there, DataError naming file and line if it is damaged.
  explicit WeightCsv(const std::filesystem::path& path);

  /// The weight of a folder: of the pattern that is its name; else of the first that fits its whole
  /// path as Python's fnmatch would (`*` crosses "/"); else 1.
  double weight(const std::string& name, const std::string& path);

  /// The patterns that no folder has used yet.
  std::vector<std::string> unused() const;

  /// About the file's text; most often empty.
  const std::string& warning() const { return warning_; }

 private:
  struct Entry {
    std::string pattern;
    double weight;
    bool used = false;
  };
  std::vector<Entry> entries_;
  std::string warning_;
};

/// Python's fnmatch: `*`, `?`, `[abc]`, `[a-z]`, `[!abc]`; case counts. Both are UTF-8.
bool fnmatch(const std::string& pattern, const std::string& text);

}  // namespace kessoku::data
