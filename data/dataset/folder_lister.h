#pragma once

#include <filesystem>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "data/dataset/dataset_builder.h"

namespace kessoku::data {

/// A folder of the dataset and the names in it, sorted.
struct Folder {
  std::filesystem::path path;
  std::string relative;              ///< to the root; "." for the root
  std::vector<std::string> files{};  ///< that can be read as files, links followed
  std::vector<std::string> folders{};
  std::vector<std::string> broken{};    ///< links that lead nowhere, sockets, ...
  std::vector<std::string> left_out{};  ///< folders of thumbnails and the like

  /// `name` relative to the root.
  std::string below(const std::string& name) const;
};

/// Whether the name is one of an image. If only Kessoku would read it, and no trainer whose dialect
/// it speaks, `is_new_format` says so.
bool is_image_name(const std::string& name);
bool is_new_format(const std::string& name);

/// Lists folders below a root, each once: links among them do not multiply them. Names that begin
/// with a dot are left out. Throws SystemError for a folder that cannot be read.
class FolderLister {
 public:
  explicit FolderLister(DatasetBuilder& builder) : builder_(builder) {}

  /// Nothing if the folder has been listed before.
  std::optional<Folder> list(const std::string& relative);

  /// Visits the tree below `relative`. `visit(folder, context)` gives the context of its
  /// sub-folders, or nothing to leave them out.
  template <typename Context, typename Visit>
  void walk(const std::string& relative, const Context& context, const Visit& visit) {
    const std::optional<Folder> folder = list(relative);
    if (!folder) return;
    const std::optional<Context> below = visit(*folder, context);
    if (!below) return;
    for (const std::string& name : folder->folders) walk(folder->below(name), *below, visit);
  }

 private:
  DatasetBuilder& builder_;
  std::set<std::pair<uint64_t, uint64_t>> visited_;
};

/// The files of a folder that stand beside images of the same stem. Names that look the same are
/// the same (Unicode's composed and decomposed forms), and so are extensions in capitals.
class Sidecars {
 public:
  explicit Sidecars(const Folder& folder);
  /// The file's name, or nothing. `extension` is in lower case, with its dot.
  std::optional<std::string> find(const std::string& stem, const std::string& extension) const;
  /// Whether `find` has given this name to somebody.
  bool used(const std::string& name) const;

 private:
  std::unordered_map<std::string, std::string> names_;  ///< by composed name, extension lower
  mutable std::unordered_set<std::string> used_;
};

}  // namespace kessoku::data
