#include <fmt/format.h>

#include "base/error.h"
#include "base/folder.h"
#include "data/captions/caption.h"
#include "data/dataset/dialect.h"
#include "data/dataset/kohya_latents.h"

namespace kessoku::data {

namespace fs = std::filesystem;

namespace {

constexpr uint64_t kMostBytes = uint64_t{1} << 30;

class Reader {
 public:
  Reader(DatasetBuilder& builder, const fs::path& metadata)
      : builder_(builder), file_(metadata.string()), name_(metadata.filename().string()) {}

  void read() {
    const OnTextWarning warn = [&](const std::string& what) { builder_.warn(name_, what); };
    if (extension_of(name_) == ".jsonl") {
      read_lines(warn);
    } else {
      read_json_entries(
          file_, Value::Kind::kMap,
          [&](const std::string& key, const Value& entry) { add(key, entry); }, warn);
    }
  }

 private:
  /// A document a line, of which the last one of a path counts.
  void read_lines(const OnTextWarning& warn) {
    const std::string text = read_document_text(file_, kMostBytes, warn);
    uint64_t number = 0;
    for (size_t begin = 0; begin < text.size();) {
      const size_t end = std::min(text.find('\n', begin), text.size());
      const std::string_view line = std::string_view(text).substr(begin, end - begin);
      begin = end + 1;
      ++number;
      if (strip(line).empty()) continue;
      const Value entry = parse_json(file_, line, number);
      const Value* path = entry.find("image_path");
      if (path == nullptr) Located{file_, entry}.fail("an entry without 'image_path'");
      add(Located{file_, *path}.text("image_path"), entry);
    }
  }

  void add(const std::string& key, const Value& entry) {
    if (entry.kind != Value::Kind::kMap) Located{file_, entry}.fail("not a map, {...}");
    const std::string caption = caption_of(entry);
    const std::optional<std::string> source = find_image(key);
    if (!source) {
      builder_.skip(key, fmt::format("there is no such image ({}:{}; paths are relative to that "
                                     "file's folder)",
                                     name_, entry.line));
      return;
    }
    if (caption.empty()) builder_.note_captionless(*source, caption);
    Example example{.source = *source, .caption = caption};
    add_kohya_latents(builder_, files_beside(*source), example);
    builder_.add(std::move(example), {});
  }

  /// caption, and tags behind it.
  std::string caption_of(const Value& entry) const {
    std::vector<CaptionPart> parts;
    for (const char* key : {"caption", "tags"}) {
      const Value* value = entry.find(key);
      if (value == nullptr || value->is_null()) continue;
      std::string text = strip(Located{file_, *value}.text(key));
      if (!text.empty()) parts.push_back({std::move(text)});
    }
    return join_parts(parts);
  }

  /// The key is a path, or (in older files) one without its extension.
  std::optional<std::string> find_image(const std::string& key) const {
    const std::string path = source_of(builder_, key);
    if (is_image_name(path) && is_file(builder_.root() / path)) return path;
    for (const char* extension : {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".PNG", ".JPG", ".JPEG",
                                  ".WEBP", ".BMP", ".avif", ".AVIF"}) {
      if (is_file(builder_.root() / (path + extension))) return path + extension;
    }
    return std::nullopt;
  }

  /// Sorted; of the last folder asked for, most often the next one's too.
  const std::vector<std::string>& files_beside(const std::string& source) {
    const fs::path folder = (builder_.root() / source).parent_path();
    if (folder == listed_) return files_;
    listed_ = folder;
    files_.clear();
    for (const fs::directory_entry& entry : list_folder(folder)) {
      std::string name = entry.path().filename().string();
      if (extension_of(name) == ".npz") files_.push_back(std::move(name));
    }
    std::ranges::sort(files_);
    return files_;
  }

  DatasetBuilder& builder_;
  std::string file_, name_;
  fs::path listed_;
  std::vector<std::string> files_;
};

}  // namespace

void read_kohya_metadata(DatasetBuilder& builder, const fs::path& metadata) {
  Reader(builder, metadata).read();
}

}  // namespace kessoku::data
