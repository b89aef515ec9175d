#include "data/dataset/dataset.h"

#include <fmt/format.h>

#include "base/error.h"
#include "data/captions/caption.h"
#include "data/dataset/dialect.h"

namespace kessoku::data {

namespace fs = std::filesystem;

namespace {

/// In the order of Dialect.
const std::vector<std::string> kDialects{"everydream2", "everydream1", "screenshot-pipeline",
                                         "kohya"};

void read_folders(DatasetBuilder& builder, const DatasetOptions& options) {
  switch (options.dialect) {
    case Dialect::kEveryDream2:
      return read_everydream2(builder);
    case Dialect::kEveryDream1:
      return read_everydream1(builder);
    case Dialect::kScreenshotPipeline:
      return read_screenshot_pipeline(builder, options.weights);
    case Dialect::kKohya:
      return read_kohya(builder);
  }
}

void read_list(DatasetBuilder& builder, const fs::path& list, Dialect dialect) {
  const std::string extension = extension_of(list.filename().string());
  if (dialect == Dialect::kEveryDream2 && extension == ".json")
    return read_everydream2_manifest(builder, list);
  if (dialect == Dialect::kKohya && (extension == ".json" || extension == ".jsonl"))
    return read_kohya_metadata(builder, list);
  throw UsageError(fmt::format(
      "{}: not a folder; a list of images is a .json file (dialects everydream2 and kohya) or a "
      ".jsonl file (kohya)",
      list.string()));
}

}  // namespace

Dialect parse_dialect(const std::string& name) {
  const auto found = std::ranges::find(kDialects, name);
  if (found != kDialects.end()) return static_cast<Dialect>(found - kDialects.begin());
  const std::string near = nearest_word(name, kDialects);
  throw UsageError(fmt::format("unknown dialect '{}'; {}", name,
                               near.empty() ? fmt::format("known: {}", fmt::join(kDialects, ", "))
                                            : fmt::format("did you mean '{}'?", near)));
}

std::string to_string(Dialect dialect) { return kDialects.at(static_cast<size_t>(dialect)); }

Dataset scan_dataset(const fs::path& root, const DatasetOptions& options) {
  if (!options.weights.empty() && options.dialect != Dialect::kScreenshotPipeline) {
    throw UsageError(fmt::format("{}: weights are read in the dialect screenshot-pipeline only",
                                 options.weights.string()));
  }
  std::error_code gone;
  if (!fs::exists(root, gone))
    throw UsageError(fmt::format("{}: no such folder of images", root.string()));
  const bool folder = fs::is_directory(root, gone);
  DatasetBuilder builder(folder ? root : root.has_parent_path() ? root.parent_path() : ".");
  if (folder) {
    read_folders(builder, options);
  } else {
    read_list(builder, root, options.dialect);
  }
  Dataset dataset = builder.finish();
  if (dataset.examples.empty()) {
    const std::string why = dataset.skipped.empty()
                                ? "holds no images"
                                : fmt::format("holds no image that can be used; {}: {}",
                                              dataset.skipped[0].source, dataset.skipped[0].reason);
    throw UsageError(fmt::format("{}: {}", root.string(), why));
  }
  return dataset;
}

}  // namespace kessoku::data
