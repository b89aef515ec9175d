#pragma once

#include <array>
#include <filesystem>
#include <string>
#include <string_view>

namespace kessoku::data {

class DatasetBuilder;
struct DatasetOptions;

/// Whose rules say what folders and files mean; docs/datasets.md describes each.
enum class Dialect { kEveryDream2, kEveryDream1, kScreenshotPipeline, kKohya };

/// The dialects' readers: each fills the builder from the folders below its root. They throw
/// DataError for damaged files.
using FolderReader = void(DatasetBuilder& builder, const DatasetOptions& options);
FolderReader read_everydream2;
FolderReader read_everydream1;
FolderReader read_screenshot_pipeline;
FolderReader read_kohya;

/// The dialects' lists of images; the builder's root is the folder of the list.
using ListReader = void(DatasetBuilder& builder, const std::filesystem::path& list);
ListReader read_everydream2_manifest;
ListReader read_kohya_metadata;

struct DialectReaders {
  FolderReader* folders;
  ListReader* list = nullptr;
  std::array<std::string_view, 2> list_extensions{};
  bool takes_weights = false;  ///< a CSV of weights
};
/// In the order of Dialect.
inline constexpr DialectReaders kDialectReaders[] = {
    {read_everydream2, read_everydream2_manifest, {".json"}},
    {read_everydream1},
    {.folders = read_screenshot_pipeline, .takes_weights = true},
    {read_kohya, read_kohya_metadata, {".json", ".jsonl"}},
};

/// Apart from the readers, so that a program that only shows names need not link them.
struct DialectName {
  const char* name;
  const char* remark;  ///< for --help; may be empty
};
/// In the order of Dialect.
inline constexpr DialectName kDialectNames[] = {
    {"everydream2", ""},
    {"everydream1", "weights cut to whole numbers"},
    {"screenshot-pipeline", ""},
    {"kohya", "folders N_name"},
};
static_assert(std::size(kDialectNames) == std::size(kDialectReaders));

/// All names with their remarks, by commas.
inline std::string describe_dialects() {
  std::string text;
  for (const DialectName& dialect : kDialectNames) {
    text += std::string(text.empty() ? "" : ", ") + dialect.name;
    if (*dialect.remark) text += std::string(" (") + dialect.remark + ")";
  }
  return text;
}

}  // namespace kessoku::data
