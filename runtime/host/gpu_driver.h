#pragma once

#include <optional>
#include <string>

namespace kessoku::runtime {

/// What NVIDIA's driver says of itself, asked without LibTorch.
struct GpuDriver {
  int gpus = 0;     ///< that CUDA_VISIBLE_DEVICES leaves
  int version = 0;  ///< the newest CUDA it works with: 1000 × major + 10 × minor; 0: unknown
  /// Why it cannot be used although the host has GPUs; empty: it can.
  std::string problem;
};

/// Nothing on hosts without a driver, or whose driver is a toolkit's stub.
std::optional<GpuDriver> ask_gpu_driver();

/// "13.0" of 13000.
std::string cuda_version_text(int version);

/// The version of the CUDA runtime that is loaded, as above; 0: none is.
int loaded_cuda_version();

}  // namespace kessoku::runtime
