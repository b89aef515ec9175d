#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>

namespace kessoku::launcher {

/// What `inspect MODEL --json` prints of a model folder or of one network's: {"kind", "components":
/// {"unet": {"tensors", "parameters", "dtypes": {"f16": tensors}, "missing": [line],
/// "mismatched": [line], "unexpected": [line]}, …}, "complete"}. "complete": nothing is wrong with
/// any component. Throws DataError if a file is damaged.
nlohmann::json describe_model_folder(const std::filesystem::path& folder);

/// The same of a lone weight file, with {"file", "format", "bytes", "ema", "other_tensors",
/// "tensors": [{"name", "dtype", "shape"}], "parameters", "metadata"} besides. `config`: model
/// folder whose configs are taken instead of those it has or Stable Diffusion 1.5's; or empty.
nlohmann::json describe_weight_file(const std::filesystem::path& file,
                                    const std::filesystem::path& config);

/// The same for a person. All tensors are listed if `every_tensor`, or if it is unknown what they
/// are.
void print_model_folder(const nlohmann::json& model);
void print_weight_file(const nlohmann::json& weights, bool every_tensor);

}  // namespace kessoku::launcher
