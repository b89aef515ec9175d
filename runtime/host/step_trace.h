#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/record_function.h>

#include <cstdint>
#include <filesystem>
#include <utility>

namespace kessoku::runtime {

/// Records training steps operation by operation with LibTorch's profiler, on all threads of this
/// process and its GPU, into a trace that Perfetto and Chromium's about:tracing open.
class StepTrace {
 public:
  /// Of `steps` steps, after some that are slower than others; 0: none. `file` ends in .json.
  StepTrace(std::filesystem::path file, uint64_t steps, at::Device device);
  StepTrace(const StepTrace&) = delete;
  StepTrace& operator=(const StepTrace&) = delete;
  /// Writes what there is.
  ~StepTrace();

  void begin_step();
  /// Writes the file after the last of the steps.
  void end_step();

 private:
  void write() noexcept;

  std::filesystem::path file_;
  uint64_t left_, to_skip_ = 2;
  at::Device device_;
  bool records_ = false;
};

/// Does `work`, which a trace shows under `name`.
template <typename Work>
decltype(auto) traced(const char* name, const Work& work) {
  RECORD_USER_SCOPE(name);
  return work();
}

}  // namespace kessoku::runtime
