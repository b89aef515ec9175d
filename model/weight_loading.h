#pragma once

#include <filesystem>

#include "model/parameter.h"

namespace kessoku::model {

/// Fills `parameters` from the .safetensors file of a diffusers module folder: `stem`.safetensors
/// or `stem`.fp16.safetensors. Older spellings of tensors are understood; numbers become fp32.
/// Throws UsageError if there is no such file; DataError naming file and tensor if one is missing,
/// is not part of the network, or has another shape.
void load_weights(const Parameters& parameters, const std::filesystem::path& folder,
                  const std::string& stem);

/// Writes `folder`/`stem`.safetensors in `dtype`.
void save_weights(const Parameters& parameters, const std::filesystem::path& folder,
                  const std::string& stem, at::ScalarType dtype);

}  // namespace kessoku::model
