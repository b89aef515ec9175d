#include <fmt/format.h>

#include "base/folder.h"
#include "data/captions/caption.h"
#include "data/dataset/dialect.h"
#include "data/dataset/screenshot_metadata.h"
#include "data/dataset/weight_csv.h"

namespace kessoku::data {

namespace fs = std::filesystem;

namespace {

/// For an image without a caption file: the pipeline's metadata beside it, or its tags.
std::optional<ImageConfig> caption_from_sidecars(DatasetBuilder& builder, const Folder& folder,
                                                 const std::string& image,
                                                 const Sidecars& sidecars) {
  const std::string stem = stem_of(image);
  std::string caption;
  const std::string hidden = fmt::format(".{}_meta.json", stem);
  for (const auto& name : {std::optional(hidden), sidecars.find(stem, ".json")}) {
    if (!name || !caption.empty() || !is_file(folder.path / *name)) continue;
    const fs::path path = folder.path / *name;
    const auto warn = [&](const std::string& what) { builder.warn(folder.below(*name), what); };
    caption = caption_from_metadata(path.string(), read_json(path, warn));
  }
  if (const auto tags = sidecars.find(image, ".tags"); tags && caption.empty()) {
    const Text text = read_caption_file(folder.path / *tags);
    if (!text.warning.empty()) builder.warn(folder.below(*tags), text.warning);
    caption = strip(text.text);
    std::ranges::replace(caption, '_', ' ');
  }
  if (caption.empty()) return std::nullopt;
  return config_from_text(caption);
}

/// The weights hold for folders with images in them, so folders are weighed once all are known.
void weigh(DatasetBuilder& builder, const fs::path& csv) {
  WeightCsv table(csv);
  if (!table.warning().empty()) builder.warn(csv.string(), table.warning());
  // The pipeline matches the path as its command line has it.
  std::string root = builder.root().string();
  while (root.size() > 1 && root.ends_with('/')) root.pop_back();
  builder.for_each_category([&](const std::string& path, Category& category) {
    const std::string full = path == "." ? root : root + "/" + path;
    const std::string name =
        path == "." ? fs::absolute(root).filename().string() : path.substr(path.rfind('/') + 1);
    category.weight = table.weight(name, full);
    if (*category.weight == 0) builder.warn(path, "weight 0, so nothing below it is ever drawn");
  });
  for (const std::string& pattern : table.unused())
    builder.warn(fmt::format("{}: '{}'", csv.string(), pattern), "no folder fits this pattern");
}

}  // namespace

void read_screenshot_pipeline(DatasetBuilder& builder, const DatasetOptions& options) {
  const fs::path& weights = options.weights;
  if (is_folder(builder.root() / "training") && is_folder(builder.root() / "intermediate")) {
    builder.warn(builder.root().string(),
                 "holds the pipeline's intermediate images, too; what is meant to be trained is "
                 "in its folder 'training'");
  }
  const OtherCaption other = [&](const Folder& folder, const std::string& image,
                                 const Sidecars& sidecars) {
    return caption_from_sidecars(builder, folder, image, sidecars);
  };
  read_everydream2_tree(builder, {.other_caption = other, .use_multiply_files = weights.empty()});
  if (!weights.empty()) weigh(builder, weights);
}

}  // namespace kessoku::data
