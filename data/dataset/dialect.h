#pragma once

#include <filesystem>
#include <functional>
#include <optional>

#include "data/dataset/dialect_table.h"
#include "data/dataset/everydream2_config.h"
#include "data/dataset/folder_lister.h"

namespace kessoku::data {

/// Says what an image's caption is if no file that EveryDream2 reads does; nothing: ask its name.
using OtherCaption = std::function<std::optional<ImageConfig>(
    const Folder& folder, const std::string& image, const Sidecars& sidecars)>;
/// What a dialect that builds on EveryDream2's rules has of its own.
struct EveryDream2Options {
  OtherCaption other_caption{};
  bool use_multiply_files = true;  ///< else multiply.txt is left out, with a warning
};
void read_everydream2_tree(DatasetBuilder& builder, const EveryDream2Options& options);

/// "10_name of it", as kohya's scripts name folders: repeats and class tokens. Nothing if the name
/// is no such, or the number is below 1.
struct KohyaFolder {
  uint32_t repeats;
  std::string class_tokens;
};
std::optional<KohyaFolder> parse_kohya_folder(const std::string& name);

/// Warns of folders named so in a dialect in which their numbers mean nothing.
void warn_of_kohya_folders(DatasetBuilder& builder);

/// The path of an image in a list: relative to the root where it lies below it.
std::string source_of(const DatasetBuilder& builder, const std::string& path);

/// What an image's name says, with a warning if an underscore cuts it. Counts the image among those
/// without a caption.
std::string caption_from_name(DatasetBuilder& builder, const std::string& source);

/// A source of configs whose warnings go to the builder; `relative` is how they call the file.
ConfigSource config_source(DatasetBuilder& builder, const std::filesystem::path& file,
                           const std::string& relative);

/// Adds the image with what `config` says about it.
void add_image(DatasetBuilder& builder, const std::string& source, const ImageConfig& config);

/// A file of one number, such as multiply.txt. A weight that is silently 1 would spoil the mixture,
/// so for what is no number from `least` to `most` DataError is thrown.
double read_number_file(const std::filesystem::path& path, double least, double most);

}  // namespace kessoku::data
