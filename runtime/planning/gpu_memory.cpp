#include "runtime/planning/gpu_memory.h"

#include <c10/core/CachingDeviceAllocator.h>

#include <set>

#include "base/error.h"
#include "base/log.h"
#include "runtime/planning/compute_memory.h"
#include "runtime/training/parameter_settings.h"
#include "runtime/training/trainer.h"

namespace kessoku::runtime {

namespace {

double gigabytes(uint64_t bytes) { return static_cast<double>(bytes) / 1e9; }

MemoryInputs inputs_of(const RunConfig& config, const model::StableDiffusion& model,
                       const ComputeMemory& compute) {
  MemoryInputs inputs;
  inputs.gpu = true;
  const model::Parameters trained = trained_parameters(config, model);
  inputs.trained = flat_numel(flat_layout(trained));
  std::set<const c10::TensorImpl*> own;
  for (const model::Parameter& parameter : trained)
    own.insert(parameter.tensor.unsafeGetTensorImpl());
  const auto add = [&](const model::Parameters& parameters, uint64_t element) {
    for (const model::Parameter& parameter : parameters) {
      if (!own.contains(parameter.tensor.unsafeGetTensorImpl()))
        inputs.frozen += static_cast<uint64_t>(parameter.tensor.numel()) * element;
    }
  };
  const uint64_t element = c10::elementSize(dtype_of(config));
  add(model.unet.parameters(), element);
  add(model.text_encoder.parameters(), element);
  add(model.vae.parameters(), sizeof(float));
  inputs.batch = compute.batch;
  inputs.activations = compute.step;
  inputs.sampling = compute.sampling;
  return inputs;
}

/// Free bytes of a GPU, unless it does not tell.
std::optional<uint64_t> free_memory(at::Device device) {
  try {
    return c10::getDeviceAllocator(device.type())->getMemoryInfo(device.index()).first;
  } catch (const c10::Error&) {
    return std::nullopt;
  }
}

/// Changes of the run file after which it needs no more than `room`.
std::string advice(const RunConfig& config, const std::vector<data::Bucket>& buckets,
                   const model::StableDiffusion& model, int ranks, uint64_t room) {
  std::string text;
  const auto try_out = [&](const std::string& what, const auto& change) {
    RunConfig other = config;
    change(other);
    const std::optional<MemoryPlan> plan = plan_gpu_memory(other, buckets, model, ranks);
    if (!plan || plan->peak - plan->program > room) return;
    text +=
        fmt::format("{}{} ({:.1f} GB)", text.empty() ? "" : ", or ", what, gigabytes(plan->peak));
  };
  const auto checkpoints = [](RunConfig& other) { other.train.gradient_checkpointing = true; };
  const auto halves = [](RunConfig& other) { other.train.precision = "bf16"; };
  if (!config.train.gradient_checkpointing)
    try_out("train.gradient_checkpointing = true", checkpoints);
  if (dtype_of(config) == at::kFloat) {
    try_out("train.precision = \"bf16\"", halves);
    if (text.empty() && !config.train.gradient_checkpointing) {
      try_out("train.precision = \"bf16\" and train.gradient_checkpointing = true",
              [&](RunConfig& other) {
                halves(other);
                checkpoints(other);
              });
    }
  }
  const uint64_t micro =
      split_batch(config.train.global_batch, config.train.micro_batch, ranks).micro;
  for (uint64_t fewer = micro / 2; fewer > 0 && text.empty(); fewer /= 2) {
    try_out(fmt::format("train.micro_batch = {}", fewer),
            [&](RunConfig& other) { other.train.micro_batch = fewer; });
  }
  return text.empty()
             ? "take more GPUs, which share the optimizer's state, or train fewer networks "
               "(train.target)"
             : "set " + text;
}

}  // namespace

std::optional<MemoryPlan> plan_gpu_memory(const RunConfig& config,
                                          const std::vector<data::Bucket>& buckets,
                                          const model::StableDiffusion& model, int ranks) {
  try {
    const ComputeMemory compute = trace_compute_memory(config, model, buckets, ranks);
    return plan_memory(config, inputs_of(config, model, compute), ranks);
  } catch (const c10::Error&) {
    return std::nullopt;
  }
}

std::optional<MemoryPlan> require_gpu_memory(const RunConfig& config,
                                             const std::vector<data::Bucket>& buckets,
                                             const model::StableDiffusion& model, at::Device device,
                                             Communicator& communicator) {
  if (device.is_cpu()) return std::nullopt;
  const std::optional<MemoryPlan> plan =
      plan_gpu_memory(config, buckets, model, communicator.size());
  const std::optional<uint64_t> room = plan ? free_memory(device) : std::nullopt;
  std::string refusal;
  if (room && plan->tensors() > *room) {
    refusal = fmt::format(
        "this run needs {:.1f} GB of a GPU's memory ({}), but {} of rank {} has {:.1f} GB free: {}",
        gigabytes(plan->peak), plan->peak_at, device.str(), communicator.rank(), gigabytes(*room),
        advice(config, buckets, model, communicator.size(), *room));
  }
  for (const std::string& text : communicator.all_gather_text(refusal)) {
    if (!text.empty()) throw UsageError(text);
  }
  if (room && plan->peak - plan->program > *room && communicator.rank() == 0) {
    log_warning(
        "this run needs about {:.1f} GB of a GPU's memory ({}), and {} has {:.1f} GB free: it may "
        "run out of memory",
        gigabytes(plan->peak), plan->peak_at, device.str(), gigabytes(*room));
  }
  return plan;
}

std::optional<GpuMemoryPeak> gpu_memory_peak(at::Device device) {
  if (device.is_cpu()) return std::nullopt;
  try {
    const auto stats = c10::getDeviceAllocator(device.type())->getDeviceStats(device.index());
    constexpr auto kAll = static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE);
    return GpuMemoryPeak{static_cast<uint64_t>(stats.allocated_bytes[kAll].peak),
                         static_cast<uint64_t>(stats.reserved_bytes[kAll].peak)};
  } catch (const c10::Error&) {
    return std::nullopt;
  }
}

}  // namespace kessoku::runtime
