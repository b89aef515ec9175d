#pragma once

#include <filesystem>

namespace kessoku::model {

/// Whether `write_model_folder` and `write_network_folder` write files of this name, relative to
/// their folder ("unet/config.json"). What else a folder holds is somebody else's.
bool is_model_folder_file(const std::filesystem::path& name);

/// Whether a config.json is one of them, byte for byte.
bool is_written_config(const std::filesystem::path& file);

}  // namespace kessoku::model
