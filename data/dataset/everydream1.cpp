#include <fmt/format.h>

#include <cmath>

#include "base/error.h"
#include "base/text_file.h"
#include "data/captions/caption.h"
#include "data/dataset/dialect.h"
#include "data/dataset/odd_files.h"

namespace kessoku::data {

namespace {

class Reader {
 public:
  explicit Reader(DatasetBuilder& builder) : builder_(builder) {}

  std::optional<bool> read(const Folder& folder) const {
    const Sidecars sidecars(folder);
    const double multiply = read_multiply(folder, sidecars);
    builder_.category(folder.relative).multiply = multiply;
    for (const std::string& name : folder.files) {
      if (!is_image_name(name)) continue;
      const std::string source = folder.below(name);
      if (!name.ends_with(extension_of(name)))
        builder_.warn(source, "EveryDream1 would not see an extension in capitals; it is used");
      builder_.add({.source = source, .caption = read_caption(folder, sidecars, name)},
                   {.multiply = multiply});
    }
    report_odd_files(builder_, folder, sidecars);
    return true;
  }

 private:
  /// As the original: cut to a whole number, 1 for what is none, and nothing below 0.
  double read_multiply(const Folder& folder, const Sidecars& sidecars) const {
    const auto name = sidecars.find("multiply", ".txt");
    if (!name) return 1;
    const std::string text = strip(read_text_file(folder.path / *name, 4096).text);
    const std::optional<double> number = parse_number(text);
    if (!number) {
      builder_.warn(folder.below(*name), "not a number, so 1, as in EveryDream1");
      return 1;
    }
    const double whole = std::max(0.0, std::trunc(*number));
    if (whole != *number) {
      builder_.warn(folder.below(*name),
                    fmt::format("{} is cut to {}, as in EveryDream1; use --dialect everydream2 for "
                                "the weight as it is written",
                                text.substr(0, 40), whole));
    }
    if (whole == 0) builder_.warn(folder.relative, "multiply 0, so its images are never drawn");
    return whole;
  }

  /// The whole text; no part of it is a prompt or a tag of its own.
  std::string read_caption(const Folder& folder, const Sidecars& sidecars,
                           const std::string& image) const {
    for (const char* extension : {".txt", ".caption"}) {
      const auto name = sidecars.find(stem_of(image), extension);
      if (!name) continue;
      try {
        const Text text = read_caption_file(folder.path / *name);
        if (text.warning.empty()) {
          std::string caption = strip(text.text);
          if (caption.empty()) builder_.warn(folder.below(*name), "empty, and so is the caption");
          return caption;
        }
        builder_.warn(folder.below(*name),
                      "not UTF-8, so the file name is the caption, as in EveryDream1");
      } catch (const DataError&) {
        builder_.warn(folder.below(*name), "cannot be read, so the file name is the caption");
      }
      break;
    }
    return caption_from_name(builder_, folder.below(image));
  }

  DatasetBuilder& builder_;
};

}  // namespace

void read_everydream1(DatasetBuilder& builder, const DatasetOptions& /*options*/) {
  const Reader reader(builder);
  FolderLister(builder).walk(".", true,
                             [&](const Folder& folder, bool) { return reader.read(folder); });
  warn_of_kohya_folders(builder);
}

}  // namespace kessoku::data
