#include "data/dataset/odd_files.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "data/captions/caption.h"

namespace kessoku::data {

namespace {

constexpr std::string_view kUnreadImages[] = {
    ".jxl", ".jp2", ".j2k", ".psd", ".psb", ".xcf",  ".kra",  ".clip", ".svg", ".ico",
    ".tga", ".exr", ".hdr", ".ppm", ".pgm", ".pnm",  ".dds",  ".qoi",  ".cr2", ".cr3",
    ".nef", ".arw", ".dng", ".orf", ".rw2", ".apng", ".webm", ".mp4",  ".mkv", ".mov"};
constexpr std::string_view kArchives[] = {".zip", ".rar", ".7z", ".tar", ".gz", ".xz", ".cbz"};
constexpr std::string_view kTexts[] = {".txt", ".caption"};
constexpr std::string_view kSettings[] = {
    "multiply.txt",     "cond_dropout.txt", "flip_p.txt",  "batch_id.txt", "loss_scale.txt",
    "shuffle_tags.txt", "local.yaml",       "global.yaml", "local.yml",    "global.yml"};
constexpr std::string_view kMetadata[] = {".yaml", ".yml", ".json", ".tags", ".xmp"};

template <size_t N>
bool among(const std::string& word, const std::string_view (&words)[N]) {
  return std::ranges::find(words, word) != std::end(words);
}

/// What names that are meant to be the same have in common: without case, spaces at the ends, and
/// an extension within ("a.png.txt").
std::string blurred(const std::string& stem) {
  const std::string inner = extension_of(stem);
  std::string name = strip(is_image_name(stem) || among(inner, kTexts) ? stem_of(stem) : stem);
  for (char& c : name) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    if (c == ' ') c = '_';
  }
  return compose(name);
}

class Reporter {
 public:
  Reporter(DatasetBuilder& builder, const Folder& folder, const Sidecars& sidecars)
      : builder_(builder), folder_(folder), sidecars_(sidecars) {
    for (const std::string& name : folder.files) {
      if (!is_image_name(name)) continue;
      stems_.insert(compose(stem_of(name)));
      images_.emplace(blurred(stem_of(name)), name);
    }
  }

  void report(const std::string& name) const {
    const std::string extension = extension_of(name);
    if (is_new_format(name)) {
      warn(name, "an image that other trainers would not read; it is used");
    } else if (is_image_name(name) || sidecars_.used(name)) {
      return;
    } else if (among(extension, kUnreadImages)) {
      warn(name, "of a format that is not read; convert it to PNG or JPEG");
    } else if (among(extension, kArchives)) {
      warn(name, "not unpacked; unpack it if it holds images");
    } else if (among(name, kSettings)) {
      warn(name, "a setting of EveryDream2's, which this dialect does not read");
    } else if (among(extension, kTexts) || among(extension, kMetadata)) {
      report_sidecar(name, among(extension, kTexts));
    }
  }

 private:
  void warn(const std::string& name, const std::string& what) const {
    builder_.warn(folder_.below(name), what);
  }

  void report_sidecar(const std::string& name, bool text) const {
    if (stems_.contains(compose(stem_of(name)))) {
      return warn(name,
                  "beside an image, but not used: this dialect does not read it, or another "
                  "file of the image counts");
    }
    const auto near = images_.find(blurred(stem_of(name)));
    if (near != images_.end()) {
      return warn(fmt::format("{} ({}?)", name, near->second),
                  "named almost as an image, so not used; give it the image's name with the "
                  "extension of a caption");
    }
    if (text) warn(name, "a text without an image of its name; rename it if it is a caption");
  }

  DatasetBuilder& builder_;
  const Folder& folder_;
  const Sidecars& sidecars_;
  std::set<std::string> stems_;
  std::map<std::string, std::string> images_;  ///< by blurred stem
};

}  // namespace

void report_odd_files(DatasetBuilder& builder, const Folder& folder, const Sidecars& sidecars) {
  for (const std::string& name : folder.broken) {
    if (is_image_name(name))
      builder.skip(folder.below(name), "not a regular file, nor a link to one");
  }
  const Reporter reporter(builder, folder, sidecars);
  for (const std::string& name : folder.files) reporter.report(name);
}

}  // namespace kessoku::data
