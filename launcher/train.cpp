#include <chrono>
#include <future>

#include "base/error.h"
#include "base/log.h"
#include "base/process/stderr_line.h"
#include "launcher/commands.h"
#include "launcher/model_folder.h"
#include "metrics/wall_clock.h"
#include "runtime/checkpoint/checkpoint.h"
#include "runtime/checkpoint/checkpoint_writer.h"
#include "runtime/checkpoint/manifest.h"
#include "runtime/checkpoint/memory_checkpoint.h"
#include "runtime/checkpoint/memory_folder.h"
#include "runtime/checkpoint/resume_changes.h"
#include "runtime/checkpoint/verified_checkpoints.h"
#include "runtime/host/device.h"
#include "runtime/host/process_resources.h"
#include "runtime/host/step_trace.h"
#include "runtime/images/sample_prompts.h"
#include "runtime/planning/gpu_memory.h"
#include "runtime/run/loader_options.h"
#include "runtime/run/precision.h"
#include "runtime/run/rank_agreement.h"
#include "runtime/run/run_folder.h"
#include "runtime/run/run_monitor.h"
#include "runtime/run/run_summary.h"
#include "runtime/run/scaling_factor.h"
#include "runtime/run/training_data.h"
#include "runtime/run/training_model.h"
#include "runtime/run/trial.h"
#include "runtime/supervision/stop_signal.h"
#include "runtime/supervision/watchdog.h"
#include "runtime/training/reproducibility.h"
#include "runtime/training/validation.h"
#include "runtime/verification/wrong_bits.h"

namespace kessoku::launcher {

namespace {

using metrics::Phase;
using runtime::CheckpointWriter;
using runtime::RunConfig;

/// Seconds since it was made.
class Stopwatch {
 public:
  double seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

/// How long the stages of a start took, one after the other.
class Stages {
 public:
  void end(const char* stage) {
    const double age = runtime::process_age();
    seconds_.emplace_back(stage, age - before_);
    before_ = age;
  }
  std::vector<std::pair<std::string, double>> take() { return std::move(seconds_); }

 private:
  double before_ = 0;
  std::vector<std::pair<std::string, double>> seconds_;
};

/// This process as one of the ranks.
struct Rank {
  std::unique_ptr<runtime::Communicator> communicator;
  at::Device device;
};

/// Takes this rank's share of the host's cores and its device, and connects it to the others, which
/// `alone` knows.
Rank join_ranks(const RunConfig& config, std::unique_ptr<runtime::Communicator> alone) {
  runtime::compute_with(
      runtime::use_cores(static_cast<int>(config.train.threads), alone->local_size()));
  const at::Device device =
      runtime::choose_device(config.train.device, alone->local_rank(), alone->local_size());
  if (device.is_cuda() && !config.train.deterministic) runtime::allow_inexact_kernels();
  return {runtime::connect(std::move(alone), device, config.communication.timeout_seconds,
                           runtime::reduction_of(config)),
          device};
}

/// What is settled before the first step: the folder, the data and the model.
struct Run {
  const RunConfig& config;
  const runtime::RunFolder& folder;
  runtime::TrainingData& data;
  runtime::TrainingModel& model;
  runtime::Communicator& communicator;

  bool first() const { return communicator.rank() == 0; }
  runtime::RunIdentity identity() const { return {config.seed, config.train.global_batch}; }
  std::filesystem::path memory() const { return runtime::memory_folder_of(config, folder.path); }
};

runtime::Trainer make_trainer(Run& run) {
  const data::Store& store = run.data.store;
  return {run.config,
          run.model.trained(),
          run.model.objective(),
          runtime::DrawCounter(store.manifest().categories, store.rows()),
          runtime::Audit(run.folder.path, run.config.audit.batches, run.communicator),
          run.communicator};
}

/// Goes on from the checkpoint of the run folder, if it has one. Returns what was changed since.
std::vector<metrics::RunChange> resume(const Run& run,
                                       const std::vector<std::string>& allowed_changes,
                                       runtime::Trainer& trainer) {
  if (!run.folder.resume_from) return {};
  const std::filesystem::path& checkpoint = *run.folder.resume_from;
  std::vector<metrics::RunChange> changes =
      runtime::changes_since(checkpoint, run.config, allowed_changes, run.data.store,
                             runtime::arithmetic_of(trainer.flat().values().device()));
  runtime::load_checkpoint(checkpoint, run.identity(), trainer);
  return changes;
}

/// Says on stderr and in the run folder what will be trained. Collective; rank 0 alone speaks.
void announce(const Run& run, runtime::Trainer& trainer) {
  const std::string uneven =
      runtime::arithmetic_warning(trainer.flat().values().device(), run.communicator);
  if (!run.first()) return;
  runtime::write_run_description(run.folder.path, run.config, run.data.store.manifest().categories,
                                 run.data.mixture, run.data.sampler.pass_draws());
  runtime::print_run_summary(run.config, run.folder, run.data, run.model.model().tokenizer, trainer,
                             run.communicator);
  if (!uneven.empty()) write_warning(uneven);
}

/// A trained VAE brings a scaling factor that fits its latents.
void fit_scaling_factor(Run& run, runtime::Trainer& trainer) {
  if (!run.config.vae.fit_scaling_factor || !run.config.trains("vae")) return;
  model::Vae& vae = run.model.model().vae;
  trainer.with_published(
      [&] { vae.config().scaling_factor = runtime::fit_scaling_factor(vae, run.data.store); });
}

void make_preview(Run& run, runtime::Trainer& trainer) {
  trainer.with_published([&] {
    runtime::write_preview(run.folder.path, trainer.steps_done(), run.config, run.model.model(),
                           run.communicator);
  });
}

bool is_due(uint64_t every_steps, uint64_t step) {
  return every_steps > 0 && step % every_steps == 0;
}

/// Runs `work`, whose seconds count as `phase` in the next record.
void timed(runtime::RunMonitor& monitor, Phase phase, const std::function<void()>& work) {
  const Stopwatch watch;
  work();
  monitor.add_seconds(phase, watch.seconds());
}

/// Step after step, until the last one or until a rank is asked to stop: store → sampler → loader →
/// step → validation, log, checkpoints, previews. True if the last checkpoint was written.
bool take_steps(Run& run, runtime::Trainer& trainer, runtime::RunMonitor& monitor,
                runtime::StepTrace& trace, const runtime::StopSignal& stop,
                const Stopwatch& since_start) {
  const RunConfig& config = run.config;
  CheckpointWriter writer(run.folder.path, config, run.identity(), run.data.store,
                          run.model.model(), run.communicator,
                          [&] { fit_scaling_factor(run, trainer); });
  runtime::MemoryCheckpoints memory(config, run.memory(), run.communicator,
                                    [&](runtime::Trainer& at, const runtime::Snapshot& snapshot) {
                                      return runtime::manifest_of(config, run.identity(),
                                                                  run.data.store, at, snapshot,
                                                                  run.communicator.size());
                                    });
  const auto report_checkpoints = [&] {
    for (const metrics::CheckpointRecord& record : writer.take_records()) monitor.record(record);
  };
  data::LoaderOptions reading =
      runtime::loader_options(config, run.model.model(), trainer.steps_done(), run.communicator);
  ++reading.last_step;  // for try_weights
  data::Loader loader(run.data.store, std::move(run.data.sampler), reading);
  monitor.watch(loader);
  const data::ValidationSet validation(run.data.store, run.data.held_out, reading);
  const bool previews =
      !config.sample.prompts.empty() && config.sample.every_steps > 0 && !config.trains("vae");
  const auto preview = [&] { timed(monitor, Phase::kSample, [&] { make_preview(run, trainer); }); };
  if (previews && trainer.steps_done() == 0) preview();
  const auto longer_than = [](const Stopwatch& watch, double seconds) {
    return seconds > 0 && watch.seconds() > seconds;
  };
  Stopwatch since_checkpoint;
  runtime::Wishes wishes;
  while (trainer.steps_done() < config.train.steps && !wishes.stop) {
    wishes.stop =
        stop.requested() || longer_than(since_start, 3600 * config.train.stop_after_hours);
    wishes.checkpoint =
        run.first() && longer_than(since_checkpoint, 60 * config.checkpoint.every_minutes);
    wishes.copy = memory.is_due();
    trace.begin_step();
    metrics::StepRecord record =
        writer.watch(trainer, [&] { return trainer.step(loader, wishes); });
    trace.end_step();
    const uint64_t step = trainer.steps_done();
    const bool last = step == config.train.steps;
    if (validation.draws() > 0 && !wishes.stop &&
        (last || is_due(config.validation.every_steps, step))) {
      timed(monitor, Phase::kValidation, [&] {
        record.validation_loss =
            runtime::validation_loss(validation, run.model.objective(), trainer, run.communicator);
      });
    }
    monitor.record(std::move(record));
    const bool due = wishes.checkpoint || is_due(config.checkpoint.every_steps, step);
    const Stopwatch watch;
    const bool begins = writer.watch(trainer, [&] {
      if (wishes.stop || last)
        runtime::try_weights(loader, run.model.objective(), trainer, run.communicator);
      return writer.after_step(trainer, wishes.writer,
                               wishes.stop || last ? CheckpointWriter::Due::kNow
                               : due               ? CheckpointWriter::Due::kSoon
                                                   : CheckpointWriter::Due::kNo);
    });
    const bool copies = wishes.copy && !wishes.stop && !last;
    if (copies) memory.copy(trainer);
    if (begins) monitor.keep_ledger();
    if (begins || copies) monitor.add_seconds(Phase::kCheckpoint, watch.seconds());
    if (begins) since_checkpoint = {};
    report_checkpoints();
    if (previews && !wishes.stop && (last || is_due(config.sample.every_steps, step))) preview();
  }
  monitor.begin_end();
  const bool written = writer.finish();
  report_checkpoints();
  return written;
}

/// Does `work`. If it finds wrong bits, this is recorded in the run folder, and no run will go on
/// from a checkpoint that may have them.
template <typename Work>
auto watch_bits(const Run& run, const Work& work) {
  try {
    return work();
  } catch (const runtime::WrongBits& error) {
    if (run.first()) {
      runtime::record_difference(run.folder.path, error);
      write_line(
          fmt::format("{}; {}", error.what(), runtime::fall_back_to_verified(run.folder.path)));
    }
    runtime::remove_memory_checkpoints(run.memory());
    run.communicator.barrier();  // mpirun ends all ranks when one has ended
    throw;
  }
}

void report_gpu_memory(const Run& run, at::Device device,
                       const std::optional<runtime::MemoryPlan>& plan) {
  const auto peak = runtime::gpu_memory_peak(device);
  if (!peak || !plan || !run.first()) return;
  write_line(fmt::format(
      "GPU memory: tensors took {:.3f} GB at most, of {:.3f} GB planned; {:.3f} GB were reserved",
      static_cast<double>(peak->tensors) / 1e9, static_cast<double>(plan->tensors()) / 1e9,
      static_cast<double>(peak->reserved) / 1e9));
}

ExitCode conclude(const Run& run, uint64_t step, bool written) {
  if (!written) {
    throw Error(ExitCode::kCannotWrite,
                fmt::format("{}: the checkpoint of step {} could not be written; the same command "
                            "resumes from the one before",
                            run.folder.path.string(), step));
  }
  if (step >= run.config.train.steps) return ExitCode::kDone;
  if (run.first()) {
    write_line(fmt::format("stopped at step {} of {}, with a checkpoint; the same command resumes",
                           step, run.config.train.steps));
  }
  return ExitCode::kStopped;
}

}  // namespace

ExitCode run(const TrainOptions& options) {
  const runtime::StopSignal stop;
  const Stopwatch since_start;
  Stages stages;
  stages.end("program");
  RunConfig config = runtime::load_config(options.run_file, options.overrides);
  runtime::check_allowed_changes(options.allowed_changes);
  // To find the other ranks takes time, but hardly any work. Until it is known how many share the
  // host's cores, each takes one.
  if (runtime::under_mpi()) runtime::compute_with(1);
  std::future<std::unique_ptr<runtime::Communicator>> others =
      std::async(std::launch::async, runtime::make_communicator);
  runtime::TrainingData data(config);
  runtime::TrainingModel model(config, data.store, resolve_model(model_options(config)));
  stages.end("inputs");
  const auto [communicator, device] = join_ranks(config, others.get());
  stages.end("ranks");
  const runtime::RunFolder folder =
      runtime::open_run_folder(config, options.out, options.resume, *communicator);
  runtime::settle_precision(config, device, folder.resume_from);
  if (config.train.precision == "tf32") runtime::allow_tf32(device);
  stages.end("checkpoint");
  const runtime::Watchdog watchdog(*communicator, folder.path,
                                   config.communication.timeout_seconds);
  runtime::RunMonitor monitor(folder.path, config, device, *communicator,
                              metrics::seconds_since_1970() - runtime::process_age());
  const std::optional<runtime::MemoryPlan> planned = runtime::require_gpu_memory(
      config, data.store.manifest().buckets, model.model(), device, *communicator);
  model.prepare(device);
  Run run{config, folder, data, model, *communicator};

  runtime::Trainer trainer = make_trainer(run);
  trainer.watch_untrained(run.model.untrained());
  stages.end("trainer");
  const std::vector<metrics::RunChange> changes = resume(run, options.allowed_changes, trainer);
  runtime::require_same_start(config, folder, data.store, trainer.flat(), *communicator);
  announce(run, trainer);
  stages.end("state");
  monitor.begin(config, data, trainer.steps_done(), folder.resume_from, stages.take());
  for (const metrics::RunChange& change : changes) monitor.note(change);
  runtime::StepTrace trace(folder.path / fmt::format("profile/rank-{}.json", communicator->rank()),
                           options.profiled_steps, device);
  const bool written =
      watch_bits(run, [&] { return take_steps(run, trainer, monitor, trace, stop, since_start); });
  report_gpu_memory(run, device, planned);
  if (written) {
    monitor.end(trainer.steps_done() >= config.train.steps);
    runtime::remove_memory_checkpoints(run.memory());
  }
  return conclude(run, trainer.steps_done(), written);
}

}  // namespace kessoku::launcher
