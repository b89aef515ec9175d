#include <fmt/format.h>

#include <charconv>

#include "base/error.h"
#include "base/folder.h"
#include "base/text.h"
#include "data/captions/caption.h"
#include "data/dataset/dialect.h"
#include "data/dataset/kohya_latents.h"
#include "data/dataset/odd_files.h"

namespace kessoku::data {

namespace fs = std::filesystem;

namespace {

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
      const std::optional<KohyaFolder> subset = parse_kohya_folder(name);
      if (!subset) {
        warn_of_unread(name,
                       "not named 'N_name' with a number N from 1, so ignored, as kohya's scripts "
                       "do");
        continue;
      }
      ++subsets;
      if (const std::optional<Folder> folder = lister.list(name)) read_subset(*folder, *subset);
    }
    if (subsets == 0) {
      const std::optional<std::string> deeper = find_deeper(root->folders);
      throw UsageError(fmt::format(
          "{}: holds no folder named as kohya's scripts want, such as '10_name'; give the folder "
          "above those{}, or a metadata file (.json, .jsonl)",
          builder_.root().string(),
          deeper ? fmt::format(" ({} is one level too deep: give {})", *deeper,
                               (builder_.root() / *deeper).parent_path().string())
                 : ""));
    }
  }

 private:
  void read_subset(const Folder& folder, const KohyaFolder& subset) const {
    const Sidecars sidecars(folder);
    builder_.category(folder.relative).multiply = subset.repeats;
    for (const std::string& below : folder.folders)
      warn_of_unread(folder.below(below),
                     "a folder in a folder 'N_name', not read, as in kohya's scripts");
    for (const std::string& name : folder.files) {
      if (!is_image_name(name)) continue;
      Example example{.source = folder.below(name),
                      .caption = read_caption(folder, sidecars, name, subset)};
      add_kohya_latents(builder_, folder.files, example);
      builder_.add(std::move(example), {.multiply = static_cast<double>(subset.repeats)});
    }
    report_odd_files(builder_, folder, sidecars);
  }

  /// Says how many images the folder holds that nobody reads.
  void warn_of_unread(const std::string& relative, const std::string& why) const {
    uint64_t images = 0;
    for (const fs::directory_entry& entry : list_folder(builder_.root() / relative))
      images += is_image_name(entry.path().filename().string());
    builder_.warn(fmt::format("{} ({})", relative, counted(images, "image")), why);
  }

  /// A folder 'N_name' below this one, relative to the root, if there is one.
  std::optional<std::string> find_deeper(const std::vector<std::string>& folders) const {
    for (const std::string& folder : folders) {
      for (const fs::directory_entry& entry : list_folder(builder_.root() / folder)) {
        const std::string name = entry.path().filename().string();
        if (parse_kohya_folder(name) && is_folder(entry.path())) return folder + "/" + name;
      }
    }
    return std::nullopt;
  }

  std::string read_caption(const Folder& folder, const Sidecars& sidecars, const std::string& image,
                           const KohyaFolder& subset) const {
    const std::string stem = stem_of(image);
    for (const char* extension : {".caption", ".txt"}) {
      for (const std::string& candidate : {stem, without_face(stem)}) {
        if (const auto name = sidecars.find(candidate, extension))
          return read_caption_file(folder, *name, subset);
      }
    }
    builder_.note_captionless(folder.below(image), subset.class_tokens);
    return subset.class_tokens;
  }

  /// The first line.
  std::string read_caption_file(const Folder& folder, const std::string& name,
                                const KohyaFolder& subset) const {
    const Text text = data::read_caption_file(folder.path / name);
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

std::optional<KohyaFolder> parse_kohya_folder(const std::string& name) {
  const size_t underscore = std::min(name.find('_'), name.size());
  const std::string number = strip(std::string_view(name).substr(0, underscore));
  const char* begin = number.data() + (number.starts_with('+') ? 1 : 0);
  uint32_t repeats = 0;
  const auto [rest, error] = std::from_chars(begin, number.data() + number.size(), repeats);
  if (error != std::errc() || rest != number.data() + number.size() || repeats < 1) return {};
  const std::string tokens = name.substr(std::min(underscore + 1, name.size()));
  return KohyaFolder{repeats, strip(to_utf8(tokens))};
}

void warn_of_kohya_folders(DatasetBuilder& builder) {
  builder.for_each_category([&](const std::string& path, const Category& category) {
    if (path.find('/') != path.npos || category.multiply != 1 || !parse_kohya_folder(path)) return;
    if (path.find('_') == path.npos) return;  // a mere number
    builder.warn(path,
                 "named as kohya's scripts want it, but its number is no weight in this dialect; "
                 "--dialect kohya reads it, and its words as captions");
  });
}

void read_kohya(DatasetBuilder& builder, const DatasetOptions& /*options*/) {
  Reader(builder).read();
}

}  // namespace kessoku::data
