#include <fmt/format.h>

#include <cmath>

#include "base/folder.h"
#include "data/captions/caption.h"
#include "data/dataset/dialect.h"
#include "data/dataset/odd_files.h"

namespace kessoku::data {

namespace fs = std::filesystem;

namespace {

class Reader {
 public:
  Reader(DatasetBuilder& builder, const EveryDream2Options& options)
      : builder_(builder), options_(options) {}

  /// Reads one folder; gives what holds for those below it.
  std::optional<ImageConfig> read(const Folder& folder, const ImageConfig& above) const {
    const Sidecars sidecars(folder);
    ImageConfig inherited = above;
    overlay_files(inherited, folder, sidecars, "global", {".yaml", ".yml"});
    ImageConfig config = inherited;
    overlay_local(config, folder, sidecars);
    describe_category(folder, config);
    for (const std::string& name : folder.files) {
      if (is_image_name(name)) read_image(folder, sidecars, name, config);
    }
    report_odd_files(builder_, folder, sidecars);
    return inherited;
  }

 private:
  /// The files STEM.EXTENSION that are there, one over the other.
  void overlay_files(ImageConfig& config, const Folder& folder, const Sidecars& sidecars,
                     const std::string& stem, std::initializer_list<const char*> extensions) const {
    for (const char* extension : extensions) {
      const auto name = sidecars.find(stem, extension);
      if (!name) continue;
      const fs::path path = folder.path / *name;
      const ConfigSource source = config_source(builder_, path, folder.below(*name));
      if (const auto said = config_from_file(path, source)) overlay(config, *said);
    }
  }

  /// What holds for this folder's own images, in EveryDream2's order.
  void overlay_local(ImageConfig& config, const Folder& folder, const Sidecars& sidecars) const {
    const auto number = [&](const char* stem, std::optional<double>& value, double least,
                            double most) {
      const auto name = sidecars.find(stem, ".txt");
      if (name) value = read_number_file(folder.path / *name, least, most);
    };
    const auto multiply = sidecars.find("multiply", ".txt");
    if (multiply && !options_.use_multiply_files) {
      builder_.warn(folder.below(*multiply), "not used, the CSV of weights holds");
    } else {
      number("multiply", config.multiply, 0, HUGE_VAL);
    }
    number("cond_dropout", config.caption_dropout, 0, 1);
    number("flip_p", config.flip, 0, 1);
    overlay_files(config, folder, sidecars, "local", {".yaml", ".yml"});
    if (const auto name = sidecars.find("batch_id", ".txt")) {
      const Text text = read_caption_file(folder.path / *name);
      if (!text.warning.empty()) builder_.warn(folder.below(*name), text.warning);
      config.batch_id = strip(text.text);
    }
    number("loss_scale", config.loss_scale, -HUGE_VAL, HUGE_VAL);
    if (sidecars.find("shuffle_tags", ".txt")) config.shuffle_tags = true;
  }

  void describe_category(const Folder& folder, const ImageConfig& config) const {
    Category& category = builder_.category(folder.relative);
    const Settings settings = settings_of(config);
    category.multiply = settings.multiply;
    category.caption_dropout = settings.caption_dropout;
    category.flip = settings.flip;
    if (category.multiply == 0) {
      builder_.warn(folder.relative,
                    "multiply 0, so its images are never drawn (EveryDream2 would read 1)");
    }
  }

  void read_image(const Folder& folder, const Sidecars& sidecars, const std::string& name,
                  ImageConfig config) const {
    const std::string source = folder.below(name);
    const bool never_drawn = config.multiply == 0.0;
    overlay_files(config, folder, sidecars, stem_of(name), {".txt", ".caption", ".yml", ".yaml"});
    if (config.multiply == 0.0 && !never_drawn)
      builder_.warn(source, "multiply 0, so it is never drawn (EveryDream2 would read 1)");
    if (config.main_prompts.empty()) {
      const std::optional<ImageConfig> other =
          options_.other_caption ? options_.other_caption(folder, name, sidecars) : std::nullopt;
      overlay(config, other ? *other : config_from_text(caption_from_name(builder_, source)));
    }
    add_image(builder_, source, config);
  }

  DatasetBuilder& builder_;
  const EveryDream2Options& options_;
};

}  // namespace

void read_everydream2_tree(DatasetBuilder& builder, const EveryDream2Options& options) {
  const Reader reader(builder, options);
  FolderLister(builder).walk(
      ".", ImageConfig{},
      [&](const Folder& folder, const ImageConfig& above) { return reader.read(folder, above); });
}

void read_everydream2(DatasetBuilder& builder, const DatasetOptions& /*options*/) {
  read_everydream2_tree(builder, {});
  warn_of_kohya_folders(builder);
}

void read_everydream2_manifest(DatasetBuilder& builder, const fs::path& manifest) {
  const std::string file = manifest.string(), name = manifest.filename().string();
  const ConfigSource source = config_source(builder, manifest, name);
  read_json_entries(
      manifest, Value::Kind::kList,
      [&](const std::string&, const Value& entry) {
        const Value* image = entry.find("image");
        if (image == nullptr || image->is_null()) {
          builder.warn(fmt::format("{}:{}", name, entry.line),
                       "an entry without 'image', left out");
          return;
        }
        const std::string path = source_of(builder, Located{file, *image}.text("image"));
        ImageConfig config = config_from_document(entry, source);
        if (!is_file(builder.root() / path)) {
          builder.skip(path, fmt::format("there is no such file ({}:{}; paths are relative to that "
                                         "list's folder)",
                                         name, entry.line));
          return;
        }
        if (config.multiply == 0.0)
          builder.warn(path, "multiply 0, so it is never drawn (EveryDream2 would read 1)");
        if (config.main_prompts.empty())
          overlay(config, config_from_text(caption_from_name(builder, path)));
        add_image(builder, path, config);
      },
      [&](const std::string& what) { builder.warn(name, what); });
}

}  // namespace kessoku::data
