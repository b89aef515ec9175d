#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <optional>

#include "runtime/config/config.h"

namespace kessoku::runtime {

/// Puts into train.precision what "auto" means: what `checkpoint` was trained in, if the run goes
/// on from one, else "bf16" on a GPU and "fp32" on a CPU. Throws DataError if the checkpoint is
/// damaged.
void settle_precision(RunConfig& config, at::Device device,
                      const std::optional<std::filesystem::path>& checkpoint = {});

}  // namespace kessoku::runtime
