#include "runtime/host/step_trace.h"

#include <torch/csrc/autograd/profiler_kineto.h>

#include <cstdlib>

#include "base/log.h"
#include "base/process/stderr_line.h"
#include "base/system_error.h"

namespace kessoku::runtime {

namespace profiler = torch::profiler::impl;

StepTrace::StepTrace(std::filesystem::path file, uint64_t steps, at::Device device)
    : file_(std::move(file)), left_(steps), device_(device) {}

StepTrace::~StepTrace() {
  if (records_) write();
}

void StepTrace::begin_step() {
  if (left_ == 0 || records_) return;
  if (to_skip_ > 0) {
    --to_skip_;
    return;
  }
  ::setenv("KINETO_LOG_LEVEL", "99", 0);  // it would say that there is no GPU
  profiler::ExperimentalConfig details;
  details.profile_all_threads = true;
  const profiler::ProfilerConfig config(profiler::ProfilerState::KINETO,
                                        /*report_input_shapes=*/true,
                                        /*profile_memory=*/false, /*with_stack=*/false,
                                        /*with_flops=*/true, /*with_modules=*/false, details);
  std::set<profiler::ActivityType> activities{profiler::ActivityType::CPU};
  if (device_.is_cuda()) activities.insert(profiler::ActivityType::CUDA);
  torch::autograd::profiler::prepareProfiler(config, activities);
  torch::autograd::profiler::enableProfiler(config, activities);
  records_ = true;
}

void StepTrace::end_step() {
  if (records_ && --left_ == 0) write();
}

/// Training goes on if it cannot.
void StepTrace::write() noexcept {
  records_ = false;
  try {
    const auto result = torch::autograd::profiler::disableProfiler();
    std::filesystem::create_directories(file_.parent_path());
    result->save(file_.string());
    if (!std::filesystem::exists(file_)) throw SystemError(file_.string() + ": cannot be written");
    write_line(fmt::format("profile      {}", file_.string()));
  } catch (const std::exception& error) {
    log_warning("no profile: {}", error.what());
  }
}

}  // namespace kessoku::runtime
