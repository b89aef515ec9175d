#include "data/dataset/dataset.h"

#include <fmt/format.h>

#include "base/error.h"
#include "base/folder.h"
#include "data/captions/caption.h"
#include "data/dataset/dialect.h"

namespace kessoku::data {

namespace fs = std::filesystem;

namespace {

const DialectReaders& readers_of(Dialect dialect) {
  return kDialectReaders[static_cast<size_t>(dialect)];
}

std::vector<std::string> dialect_names() {
  std::vector<std::string> names;
  for (const DialectName& dialect : kDialectNames) names.emplace_back(dialect.name);
  return names;
}

void read_list(DatasetBuilder& builder, const fs::path& list, const DialectReaders& readers) {
  const std::string extension = extension_of(list.filename().string());
  if (!extension.empty() && std::ranges::count(readers.list_extensions, extension) > 0)
    return readers.list(builder, list);
  std::vector<std::string> lists;
  for (size_t i = 0; i < std::size(kDialectReaders); ++i) {
    for (const std::string_view known : kDialectReaders[i].list_extensions) {
      if (!known.empty()) lists.push_back(fmt::format("{} ({})", known, kDialectNames[i].name));
    }
  }
  throw UsageError(
      fmt::format("{}: neither a folder nor a list of images that its dialect reads: {}",
                  list.string(), fmt::join(lists, ", ")));
}

}  // namespace

Dialect parse_dialect(const std::string& name) {
  const std::vector<std::string> names = dialect_names();
  const auto found = std::ranges::find(names, name);
  if (found != names.end()) return static_cast<Dialect>(found - names.begin());
  const std::string near = nearest_word(name, names);
  throw UsageError(fmt::format("unknown dialect '{}'; {}", name,
                               near.empty() ? fmt::format("known: {}", fmt::join(names, ", "))
                                            : fmt::format("did you mean '{}'?", near)));
}

std::string to_string(Dialect dialect) { return kDialectNames[static_cast<size_t>(dialect)].name; }

Dataset scan_dataset(const fs::path& root, const DatasetOptions& options) {
  const DialectReaders& readers = readers_of(options.dialect);
  if (!options.weights.empty() && !readers.takes_weights) {
    throw UsageError(fmt::format("{}: the dialect {} does not read weights from a file",
                                 options.weights.string(), to_string(options.dialect)));
  }
  const bool folder = is_folder(root);
  if (!folder && !is_file(root))
    throw UsageError(fmt::format("{}: no such folder of images", root.string()));
  DatasetBuilder builder(folder ? root : root.has_parent_path() ? root.parent_path() : ".");
  try {
    if (folder) {
      readers.folders(builder, options);
    } else {
      read_list(builder, root, readers);
    }
  } catch (const Error&) {
    if (options.on_failure) options.on_failure(builder.warnings());
    throw;
  }
  Dataset dataset = builder.finish();
  if (dataset.examples.empty()) {
    const std::string why = dataset.skipped.empty()
                                ? "holds no images"
                                : fmt::format("holds no image that can be used; {}: {}",
                                              dataset.skipped[0].source, dataset.skipped[0].reason);
    if (options.on_failure) options.on_failure(dataset.warnings);
    throw UsageError(fmt::format("{}: {}", root.string(), why));
  }
  return dataset;
}

}  // namespace kessoku::data
