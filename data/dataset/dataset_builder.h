#pragma once

#include <functional>
#include <map>
#include <unordered_map>

#include "data/dataset/dataset.h"
#include "data/dataset/dataset_warnings.h"

namespace kessoku::data {

/// Collects what the reader of a dialect finds.
class DatasetBuilder {
 public:
  explicit DatasetBuilder(std::filesystem::path root);

  const std::filesystem::path& root() const { return dataset_.root; }
  /// The folder of that path (raw bytes, relative to the root), made with all above it where they
  /// are missing. The reference holds until the next call.
  Category& category(const std::string& path);
  /// Calls `visit(path, category)` for each folder, with its path as it was given.
  void for_each_category(const std::function<void(const std::string&, Category&)>& visit);
  /// An image in the folder of `source`; `example` needs neither category nor settings.
  void add(Example example, const Settings& settings);
  void skip(const std::string& source, const std::string& reason);
  void warn(const std::string& where, const std::string& what) { warnings_.add(where, what); }
  /// An image that no file gives a caption: it is `caption` for want of another.
  void note_captionless(const std::string& source, const std::string& caption);
  /// What was warned of so far.
  std::vector<std::string> warnings() const;
  size_t examples() const { return dataset_.examples.size(); }
  /// Sorted: categories by path, the root first, examples by source.
  Dataset finish();

 private:
  uint32_t category_index(const std::string& path);
  std::string unique_name(const std::string& path) const;
  uint32_t settings_index(const Settings& settings);

  Dataset dataset_;
  DatasetWarnings warnings_;
  size_t captionless_ = 0;
  std::string first_captionless_;                         ///< "CAPTION" of SOURCE
  std::unordered_map<std::string, uint32_t> categories_;  ///< by raw path
  std::unordered_map<std::string, uint32_t> names_;       ///< by Category::path
  std::map<std::string, uint32_t> settings_;              ///< by all that they say
};

}  // namespace kessoku::data
