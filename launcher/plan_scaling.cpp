#include "launcher/plan_scaling.h"

#include <ATen/Parallel.h>

#include "base/error.h"
#include "launcher/model_folder.h"
#include "launcher/quantity.h"
#include "runtime/host/device.h"
#include "runtime/host/process_resources.h"
#include "runtime/planning/gpu_memory.h"
#include "runtime/planning/measured_costs.h"
#include "runtime/planning/memory_plan.h"
#include "runtime/planning/step_budget.h"
#include "runtime/planning/step_profiler.h"
#include "runtime/run/loader_options.h"
#include "runtime/run/precision.h"
#include "runtime/run/training_model.h"
#include "runtime/training/reproducibility.h"

namespace kessoku::launcher {

namespace {

using runtime::RunConfig;

runtime::NetworkModel network_of(const ScalingOptions& options, const RunConfig& config) {
  runtime::NetworkModel network;
  const bool alone = std::ranges::all_of(options.ranks, [](int ranks) { return ranks == 1; });
  if (options.link.empty() && !alone) {
    throw UsageError("--ranks: how fast are hosts joined? Add --link, for example --link 25GB/s");
  }
  if (!options.link.empty()) network.link = parse_bandwidth(options.link, "--link");
  network.latency = parse_seconds(options.latency, "--latency");
  network.ranks_per_host = options.ranks_per_host;
  if (!options.local_link.empty())
    network.local_link = parse_bandwidth(options.local_link, "--local-link");
  network.rings =
      options.transport.empty() ? config.train.device == "cuda" : options.transport == "nccl";
  return network;
}

/// --compute: a time, or a run folder.
std::optional<runtime::MeasuredCosts> told_costs(const ScalingOptions& options,
                                                 const RunConfig& config) {
  if (options.compute.empty()) return std::nullopt;
  const std::optional<double> seconds = read_seconds(options.compute);
  if (!seconds) {
    if (std::filesystem::is_directory(options.compute))
      return runtime::costs_of_run(options.compute);
    std::vector<std::string> gpus;
    for (const runtime::GpuPeaks& gpu : runtime::known_gpus()) gpus.emplace_back(gpu.name);
    throw UsageError(fmt::format(
        "--compute {}: is neither a time as 0.5s, nor the folder of a run, nor a GPU ({})",
        options.compute, fmt::join(gpus, ", ")));
  }
  runtime::MeasuredCosts told;
  told.micro_batch = config.train.micro_batch;
  told.costs.forward = *seconds / 3;  // backward is twice the arithmetic
  told.costs.backward = *seconds * 2 / 3;
  return told;
}

/// A run's model and data, of which steps are taken as one rank of many.
class Stage {
 public:
  /// Without `steps` none is taken: then a GPU may be planned for where there is none. Settles the
  /// precision of `config`, which must stay. `program`: see plan_scaling.
  Stage(RunConfig& config, const runtime::TrainingData& data, int ranks_per_host, bool steps,
        uint64_t program)
      : data_(data),
        model_(config, data.store, resolve_model(model_options(config))),
        measures_(steps) {
    if (!steps && config.train.device == "cuda") {
      inputs_.trained = runtime::flat_numel(runtime::flat_layout(model_.trained()));
      inputs_.gpu = true;
      runtime::settle_precision(config, at::kCUDA);
      return;
    }
    runtime::compute_with(
        runtime::use_cores(static_cast<int>(config.train.threads), ranks_per_host));
    const at::Device device = runtime::choose_device(config.train.device);
    runtime::settle_precision(config, device);
    model_.prepare(device);
    inputs_.gpu = device.is_cuda();
    inputs_.program = program;
    inputs_.trained = runtime::flat_numel(runtime::flat_layout(model_.trained()));
    const model::StableDiffusion& model = model_.model();
    for (const model::Parameters& part :
         {model.unet.parameters(), model.text_encoder.parameters(), model.vae.parameters()}) {
      for (const model::Parameter& parameter : part) inputs_.frozen += parameter.tensor.nbytes();
    }
    for (const model::Parameter& parameter : model_.trained())
      inputs_.frozen -= parameter.tensor.nbytes();
  }

  /// `config` may have another global batch. Knows then what a step holds, too.
  runtime::StepCosts profile_steps(const RunConfig& config, int ranks) {
    const auto make_loader = [&](const RunConfig& own, const runtime::Communicator& communicator) {
      return std::make_unique<data::Loader>(
          data_.store, data_.sampler_of(own),
          runtime::loader_options(own, model_.model(), 0, communicator));
    };
    const runtime::StepProfile profile = runtime::profile_steps(
        config, ranks, model_.trained(), model_.objective(), data_.store, make_loader, memory_);
    inputs_.activations = static_cast<uint64_t>(profile.activation_bytes);
    inputs_.batch = static_cast<uint64_t>(profile.batch_bytes);
    inputs_.program = static_cast<uint64_t>(profile.program_bytes);
    return profile.costs;
  }

  /// What a GPU takes at least.
  runtime::StepBudget budget(const RunConfig& config, const runtime::GpuPeaks& gpu) const {
    return runtime::budget_step(config, model_.model(), data_.store.manifest().buckets, gpu);
  }

  int64_t trained() const { return inputs_.trained; }
  bool is_gpu() const { return inputs_.gpu; }
  /// Of a GPU by a trace of allocations, which knows what no CPU measures.
  runtime::MemoryPlan plan_memory(const RunConfig& config, int ranks) {
    if (inputs_.gpu) {
      const auto plan =
          runtime::plan_gpu_memory(config, data_.store.manifest().buckets, model_.model(), ranks);
      if (plan) return *plan;
      if (!measures_) {
        throw UsageError(
            "train.device = \"cuda\": what this run holds of a GPU is only known where steps are "
            "taken on one: leave out --compute there");
      }
    }
    return runtime::plan_memory(config, inputs_, ranks);
  }

 private:
  runtime::AllocationTracker memory_;  ///< first, to know of all tensors
  const runtime::TrainingData& data_;
  runtime::TrainingModel model_;
  bool measures_;
  runtime::MemoryInputs inputs_;
};

std::string compute_source(const ScalingOptions& options) {
  if (options.compute.empty()) return "rehearsed here";
  return "--compute " + options.compute;
}

}  // namespace

Scaling plan_scaling(const RunConfig& run_config, const runtime::TrainingData& data,
                     const ScalingOptions& options, uint64_t program) {
  RunConfig config = run_config;
  const runtime::GpuPeaks* gpu = runtime::find_gpu(options.compute);
  if (gpu != nullptr) config.train.device = "cuda";
  const runtime::NetworkModel network = network_of(options, config);
  std::optional<runtime::MeasuredCosts> told;
  if (gpu == nullptr) told = told_costs(options, config);
  const bool measured = options.compute.empty();
  Stage stage(config, data, options.ranks_per_host, measured, program);
  Scaling scaling{.compute = compute_source(options),
                  .measured = measured,
                  .traced = stage.is_gpu(),
                  .threads = at::get_num_threads(),
                  .network = network,
                  .config = config,
                  .budget = {},
                  .rows = {}};
  if (gpu != nullptr) {
    scaling.budget = stage.budget(config, *gpu);
    told = scaling.budget->costs;
  }
  double first_rate = 0;  // samples a second and rank, of the first row
  for (const int ranks : options.ranks) {
    RunConfig own = config;
    if (options.weak) {
      own.train.global_batch = config.train.global_batch * static_cast<uint64_t>(ranks) /
                               static_cast<uint64_t>(options.ranks.front());
    }
    const uint64_t global_batch = own.train.global_batch;
    if (global_batch == 0 || global_batch % static_cast<uint64_t>(ranks) != 0) {
      scaling.rows.push_back(
          {.ranks = ranks,
           .problem = fmt::format("a global batch of {} does not divide", global_batch)});
      continue;
    }
    const runtime::BatchSplit split =
        runtime::split_batch(global_batch, own.train.micro_batch, ranks);
    const double share = own.optimizer.shard ? 1.0 / ranks : 1;
    const runtime::StepCosts costs =
        told ? told->scaled_to(split.micro, share) : stage.profile_steps(own, ranks);
    const runtime::StepPrediction step =
        runtime::predict_step(costs, split.accumulation,
                              runtime::traffic_of(own, stage.trained(), ranks), network, ranks);
    const double rate = static_cast<double>(global_batch) / step.seconds;
    if (first_rate == 0) first_rate = rate / ranks;
    scaling.rows.push_back({.ranks = ranks,
                            .problem = "",
                            .global_batch = global_batch,
                            .split = split,
                            .step = step,
                            .samples_per_second = rate,
                            .efficiency = rate / ranks / first_rate,
                            .rank_dependence = runtime::rank_dependence(own, ranks),
                            .memory = stage.plan_memory(own, ranks)});
  }
  return scaling;
}

}  // namespace kessoku::launcher
