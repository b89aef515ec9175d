#include <fmt/format.h>

#include <charconv>

#include "base/error.h"
#include "data/captions/caption.h"
#include "data/dataset/dialect.h"
#include "data/dataset/kohya_latents.h"

namespace kessoku::data {

namespace fs = std::filesystem;

namespace {

/// "10_name of it": repeats and class tokens. Nothing if the name is no such, or the number is < 1.
struct Subset {
  uint32_t repeats;
  std::string class_tokens;
};
std::optional<Subset> parse_subset(const std::string& name) {
  const size_t underscore = std::min(name.find('_'), name.size());
  const std::string number = strip(std::string_view(name).substr(0, underscore));
  const char* begin = number.data() + (number.starts_with('+') ? 1 : 0);
  uint32_t repeats = 0;
  const auto [rest, error] = std::from_chars(begin, number.data() + number.size(), repeats);
  if (error != std::errc() || rest != number.data() + number.size() || repeats < 1) return {};
  const std::string tokens = name.substr(std::min(underscore + 1, name.size()));
  return Subset{repeats, strip(decode_text(tokens).text)};
}

/// kohya's face detection appends four numbers to the name of an image and keeps its caption.
std::string without_face(const std::string& stem) {
  size_t end = stem.size();
  for (int cut = 0; cut < 4; ++cut) {
    end = end == 0 ? std::string::npos : stem.rfind('_', end - 1);
    if (end == std::string::npos) return stem;
  }
  return stem.substr(0, end);
}

class Reader {
 public:
  explicit Reader(DatasetBuilder& builder) : builder_(builder) {}

  void read() {
    FolderLister lister(builder_);
    const std::optional<Folder> root = lister.list(".");
    for (const std::string& name : root->files) {
      if (is_image_name(name))
        builder_.warn(name, "an image outside the folders 'N_name', ignored as in kohya's scripts");
    }
    size_t subsets = 0;
    for (const std::string& name : root->folders) {
      const std::optional<Subset> subset = parse_subset(name);
      if (!subset) {
        builder_.warn(name,
                      "not named 'N_name' with a number N from 1, so ignored, as kohya's "
                      "scripts do");
        continue;
      }
      ++subsets;
      if (const std::optional<Folder> folder = lister.list(name)) read_subset(*folder, *subset);
    }
    if (subsets == 0) {
      throw UsageError(fmt::format(
          "{}: holds no folder named as kohya's scripts want, such as '10_name'; give the folder "
          "above those, or a metadata file (.json, .jsonl)",
          builder_.root().string()));
    }
  }

 private:
  void read_subset(const Folder& folder, const Subset& subset) const {
    const Sidecars sidecars(folder);
    builder_.category(folder.relative).multiply = subset.repeats;
    report_odd_files(builder_, folder);
    for (const std::string& below : folder.folders)
      builder_.warn(folder.below(below),
                    "a folder in a folder 'N_name', not read, as in kohya's "
                    "scripts");
    for (const std::string& name : folder.files) {
      if (!is_image_name(name)) continue;
      Example example{.source = folder.below(name),
                      .caption = read_caption(folder, sidecars, name, subset)};
      add_kohya_latents(builder_, folder.files, example);
      builder_.add(std::move(example), {.multiply = static_cast<double>(subset.repeats)});
    }
  }

  std::string read_caption(const Folder& folder, const Sidecars& sidecars, const std::string& image,
                           const Subset& subset) const {
    const std::string stem = stem_of(image);
    for (const char* extension : {".caption", ".txt"}) {
      for (const std::string& candidate : {stem, without_face(stem)}) {
        if (const auto name = sidecars.find(candidate, extension))
          return read_caption_file(folder, *name, subset);
      }
    }
    return subset.class_tokens;
  }

  /// The first line.
  std::string read_caption_file(const Folder& folder, const std::string& name,
                                const Subset& subset) const {
    const Text text = read_text_file(folder.path / name);
    if (!text.warning.empty())
      builder_.warn(folder.below(name), text.warning + " (kohya's scripts would stop)");
    const std::string all = strip(text.text);
    if (all.empty()) {
      builder_.warn(folder.below(name),
                    "empty, so the folder's name is the caption (kohya's "
                    "scripts would stop)");
      return subset.class_tokens;
    }
    if (all.find('\n') != std::string::npos)
      builder_.warn(folder.below(name),
                    "only the first line is the caption, as in kohya's scripts");
    return strip(text.text.substr(0, text.text.find('\n')));
  }

  DatasetBuilder& builder_;
};

}  // namespace

void read_kohya(DatasetBuilder& builder, const DatasetOptions& /*options*/) {
  Reader(builder).read();
}

}  // namespace kessoku::data
