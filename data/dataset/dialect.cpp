#include "data/dataset/dialect.h"

#include <fmt/format.h>

#include <cmath>

#include "base/error.h"
#include "base/text_file.h"
#include "data/captions/caption.h"

namespace kessoku::data {

namespace fs = std::filesystem;

std::string caption_from_name(DatasetBuilder& builder, const std::string& source) {
  const NameCaption name = file_name_caption(source.substr(source.rfind('/') + 1));
  if (name.cut) {
    builder.warn(source,
                 "the caption is the file name up to its first underscore, which cuts words off; "
                 "write it into a .txt file beside the image");
  }
  builder.note_captionless(source, name.text);
  return name.text;
}

std::string source_of(const DatasetBuilder& builder, const std::string& path) {
  const fs::path normal = fs::path(path).lexically_normal();
  if (!normal.is_absolute()) return normal.string();
  const fs::path below = normal.lexically_relative(fs::absolute(builder.root()).lexically_normal());
  return below.empty() || *below.begin() == ".." ? normal.string() : below.string();
}

ConfigSource config_source(DatasetBuilder& builder, const fs::path& file,
                           const std::string& relative) {
  return {file.string(), builder.root(),
          [&builder, relative](uint64_t line, const std::string& what) {
            builder.warn(line == 0 ? relative : fmt::format("{}:{}", relative, line), what);
          }};
}

void add_image(DatasetBuilder& builder, const std::string& source, const ImageConfig& config) {
  const std::vector<CaptionPart> parts = parts_of(config);
  if (config.main_prompts.size() > 1)
    builder.warn(source, "several main prompts, the first is used (as EveryDream2 does)");
  Example example{.source = source, .caption = join_parts(parts)};
  example.caption_parts = encode_parts(parts);
  builder.add(std::move(example), settings_of(config));
}

double read_number_file(const std::filesystem::path& path, double least, double most) {
  const std::string text = strip(read_text_file(path, 4096).text);
  const std::optional<double> number = parse_number(text);
  if (number && *number >= least && *number <= most) return *number;
  const std::string range = most == 1           ? "a number from 0 to 1"
                            : std::isinf(least) ? "a number"
                                                : "a number from 0 upwards";
  throw DataError(fmt::format("{}:1: '{}' is not {}; write one such as 0.5{}, or delete the file",
                              path.string(), text.substr(0, 40), range,
                              number && *number < 0 && least == 0 && most > 1
                                  ? " (0 for images that are never to be drawn)"
                                  : ""));
}

}  // namespace kessoku::data
