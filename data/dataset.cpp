#include "data/dataset.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <charconv>
#include <cmath>
#include <set>

#include "base/error.h"
#include "base/file.h"
#include "data/caption.h"

namespace kessoku::data {

namespace fs = std::filesystem;

namespace {

/// In the order of Dialect.
const std::vector<std::string> kDialects{"everydream2", "everydream1", "screenshot-pipeline",
                                         "kohya"};
constexpr std::string_view kImageExtensions[] = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".jfif"};
constexpr std::string_view kNotReadYet[] = {"global.yaml",   "global.yml",       "local.yaml",
                                            "local.yml",     "shuffle_tags.txt", "batch_id.txt",
                                            "loss_scale.txt"};

bool is_image(const std::string& name) {
  const size_t dot = name.rfind('.');
  if (dot == std::string::npos) return false;
  std::string extension = name.substr(dot);
  for (char& c : extension) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return std::ranges::find(kImageExtensions, extension) != std::end(kImageExtensions);
}

/// A number file such as multiply.txt. A weight that is silently 1 would spoil the mixture, so a
/// malformed one is an error.
double read_number(const fs::path& path, double most) {
  const std::string text = strip(read_file(path, 4096));
  const char* begin = text.data() + (text.starts_with('+') ? 1 : 0);
  const char* end = text.data() + text.size();
  double value = 0;
  const auto [rest, error] = std::from_chars(begin, end, value);
  if (error != std::errc() || rest != end || !std::isfinite(value) || value < 0 || value > most) {
    throw DataError(
        fmt::format("{}: '{}' is not a number from 0 {}; write one such as 0.5, or delete the file",
                    path.string(), text.substr(0, 40), most == 1 ? "to 1" : "upwards"));
  }
  return value;
}

class Scanner {
 public:
  explicit Scanner(Dataset& dataset) : dataset_(dataset) {}

  /// `relative` is "." for the root.
  void scan(const std::string& relative) {
    const fs::path path = relative == "." ? dataset_.root : dataset_.root / relative;
    if (!first_visit(path)) {
      dataset_.warnings.push_back(
          fmt::format("{}: a link to a folder that is read already, not followed", relative));
      return;
    }
    std::vector<std::string> files, folders;
    list(path, files, folders);
    add_category(path, relative, files);
    add_images(path, relative, files);
    for (const std::string& folder : folders) scan(join(relative, folder));
  }

 private:
  static std::string join(const std::string& relative, const std::string& name) {
    return relative == "." ? name : relative + "/" + name;
  }

  /// Each folder once, or links among folders would multiply them (or never end).
  bool first_visit(const fs::path& path) {
    struct stat status {};
    if (::stat(path.c_str(), &status) != 0) return false;
    return visited_.emplace(status.st_dev, status.st_ino).second;
  }

  static void list(const fs::path& path, std::vector<std::string>& files,
                   std::vector<std::string>& folders) {
    try {
      for (const fs::directory_entry& entry : fs::directory_iterator(path)) {
        const std::string name = entry.path().filename().string();
        if (name.starts_with('.')) continue;
        std::error_code broken_link;
        (entry.is_directory(broken_link) ? folders : files).push_back(name);
      }
    } catch (const fs::filesystem_error& error) {
      throw DataError(
          fmt::format("{}: cannot read the folder: {}", path.string(), error.code().message()));
    }
    std::ranges::sort(files);
    std::ranges::sort(folders);
  }

  void add_category(const fs::path& path, const std::string& relative,
                    const std::vector<std::string>& files) {
    Category category{.path = relative};
    for (const std::string& file : files) {
      if (file == "multiply.txt") category.multiply = read_number(path / file, HUGE_VAL);
      if (file == "cond_dropout.txt") category.caption_dropout = read_number(path / file, 1);
      if (file == "flip_p.txt") category.flip = read_number(path / file, 1);
      if (std::ranges::find(kNotReadYet, file) != std::end(kNotReadYet)) {
        dataset_.warnings.push_back(
            fmt::format("{}: not supported yet, ignored", join(relative, file)));
      }
    }
    if (category.multiply == 0) {
      dataset_.warnings.push_back(fmt::format(
          "{}: multiply 0, so its images are never drawn (EveryDream2 would read 1)", relative));
    }
    dataset_.settings.push_back({.multiply = category.multiply,
                                 .caption_dropout = category.caption_dropout,
                                 .flip = category.flip});
    dataset_.categories.push_back(std::move(category));
  }

  void add_images(const fs::path& path, const std::string& relative,
                  const std::vector<std::string>& files) {
    const std::unordered_set<std::string> names(files.begin(), files.end());
    const auto category = static_cast<uint32_t>(dataset_.categories.size() - 1);
    for (const std::string& file : files) {
      if (!is_image(file)) continue;
      const std::string source = join(relative, file);
      std::error_code gone;
      if (!fs::is_regular_file(path / file, gone)) {
        dataset_.skipped.push_back({source, gone ? gone.message() : "not a regular file"});
        continue;
      }
      Caption caption = read_caption(path, file, names);
      if (!caption.warning.empty()) dataset_.warnings.push_back(source + ": " + caption.warning);
      dataset_.examples.push_back({source, std::move(caption.text), category, category});
    }
  }

  Dataset& dataset_;
  std::set<std::pair<dev_t, ino_t>> visited_;
};

/// By path, the root first; the examples follow their folders.
void sort_dataset(Dataset& dataset) {
  std::vector<uint32_t> order(dataset.categories.size());
  for (uint32_t i = 0; i < order.size(); ++i) order[i] = i;
  std::sort(order.begin() + 1, order.end(), [&](uint32_t a, uint32_t b) {
    return dataset.categories[a].path < dataset.categories[b].path;
  });
  std::vector<Category> sorted;
  std::vector<uint32_t> place(order.size());
  for (const uint32_t old : order) {
    place[old] = static_cast<uint32_t>(sorted.size());
    sorted.push_back(std::move(dataset.categories[old]));
  }
  dataset.categories = std::move(sorted);
  for (Example& example : dataset.examples) example.category = place[example.category];
  std::ranges::sort(dataset.examples, {}, &Example::source);
  std::ranges::sort(dataset.skipped, {}, &Skipped::source);
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
  if (options.dialect != Dialect::kEveryDream2)
    throw UsageError(fmt::format("dialect {} is not read yet", to_string(options.dialect)));
  std::error_code gone;
  if (!fs::is_directory(root, gone)) {
    throw UsageError(fmt::format("{}: no such folder of images", root.string()));
  }
  Dataset dataset;
  dataset.root = root;
  Scanner(dataset).scan(".");
  sort_dataset(dataset);
  if (dataset.examples.empty()) {
    throw UsageError(
        fmt::format("{}: holds no images ({})", root.string(), fmt::join(kImageExtensions, " ")));
  }
  return dataset;
}

}  // namespace kessoku::data
