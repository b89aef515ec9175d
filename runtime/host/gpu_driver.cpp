#include "runtime/host/gpu_driver.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include <filesystem>

namespace kessoku::runtime {

namespace {

// cuda.h's; the functions are asked for by name, since the header is part of the toolkit.
constexpr int kSuccess = 0, kStubLibrary = 34, kNoDevice = 100;

/// Calls a function of a loaded library; `missing` if it has none of that name.
template <typename... Arguments>
int call(void* library, const char* name, int missing, Arguments... arguments) {
  using Function = int (*)(Arguments...);
  // What dlsym gives is a function: POSIX says so, C++ cannot.
  const auto function = reinterpret_cast<Function>(::dlsym(library, name));
  return function == nullptr ? missing : function(arguments...);
}

/// Whether the kernel knows of GPUs that this process may open.
bool kernel_shows_gpus() {
  std::error_code ignored;
  return std::filesystem::exists("/dev/nvidia0", ignored);
}

}  // namespace

std::optional<GpuDriver> ask_gpu_driver() {
  void* library = ::dlopen("libcuda.so.1", RTLD_LAZY | RTLD_LOCAL);
  if (library == nullptr) return std::nullopt;
  GpuDriver driver;
  call(library, "cuDriverGetVersion", kStubLibrary, &driver.version);
  const int begun = call(library, "cuInit", kStubLibrary, 0U);
  if (begun == kStubLibrary) return std::nullopt;
  if (begun == kSuccess) {
    if (call(library, "cuDeviceGetCount", kStubLibrary, &driver.gpus) != kSuccess) driver.gpus = 0;
  } else if (begun != kNoDevice && kernel_shows_gpus()) {
    driver.problem = fmt::format("NVIDIA's driver does not work (cuInit gives error {})", begun);
  }
  return driver;  // the library stays: LibTorch loads it again
}

std::string cuda_version_text(int version) {
  return fmt::format("{}.{}", version / 1000, version % 1000 / 10);
}

int loaded_cuda_version() {
  int version = 0;
  call(RTLD_DEFAULT, "cudaRuntimeGetVersion", kStubLibrary, &version);
  return version;
}

}  // namespace kessoku::runtime
