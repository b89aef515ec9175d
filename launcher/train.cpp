#include <ATen/Context.h>
#include <ATen/Parallel.h>

#include <chrono>

#include "base/error.h"
#include "data/sampling/validation_split.h"
#include "launcher/commands.h"
#include "launcher/model_folder.h"
#include "launcher/training_setup.h"
#include "model/pipeline/inpainting.h"
#include "runtime/checkpoint/checkpoint.h"
#include "runtime/checkpoint/checkpoint_writer.h"
#include "runtime/checkpoint/resume_changes.h"
#include "runtime/host/device.h"
#include "runtime/host/process_resources.h"
#include "runtime/images/sample_prompts.h"
#include "runtime/run/compatibility.h"
#include "runtime/run/rank_agreement.h"
#include "runtime/run/run_folder.h"
#include "runtime/run/run_monitor.h"
#include "runtime/run/run_summary.h"
#include "runtime/supervision/stop_signal.h"
#include "runtime/supervision/watchdog.h"
#include "runtime/training/parameter_settings.h"
#include "runtime/training/scaling_factor.h"
#include "runtime/training/training_schedule.h"
#include "runtime/training/validation.h"

namespace kessoku::launcher {

namespace {

using metrics::Phase;
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

void use_threads(const RunConfig& config, const runtime::Communicator& communicator) {
  at::set_num_threads(
      runtime::use_cores(static_cast<int>(config.train.threads), communicator.local_size()));
  at::globalContext().setFlushDenormal(
      true);  // moments of words that no caption holds decay into denormals
}

}  // namespace

/// The data's way through the house: store → sampler → loader → step → log, samples, checkpoints.
ExitCode run(const TrainOptions& options) {
  const runtime::StopSignal stop;
  const Stopwatch since_start;
  RunConfig config = runtime::load_config(options.run_file, options.overrides);
  runtime::check_allowed_changes(options.allowed_changes);
  std::unique_ptr<runtime::Communicator> communicator = runtime::make_communicator();
  const bool first = communicator->rank() == 0;
  use_threads(config, *communicator);
  const at::Device device = runtime::choose_device(config.train.device, communicator->local_rank(),
                                                   communicator->local_size());
  communicator =
      runtime::connect(std::move(communicator), device, config.communication.timeout_seconds);

  const runtime::RunFolder folder =
      runtime::open_run_folder(config, options.out, options.resume, *communicator);
  const runtime::Watchdog watchdog(*communicator, folder.path,
                                   config.communication.timeout_seconds);
  const data::Store store(config.data.store);
  const std::vector<bool> held_out = data::hold_out(store, config.validation.fraction);
  const data::Examples examples = data::examples_of(store.manifest(), store.rows(), held_out);
  const data::Mixture mixture =
      data::resolve_mixture(store.manifest().categories, examples, config.mixture.rules);
  data::Sampler sampler(examples, mixture,
                        {config.seed, config.train.global_batch, config.mixture.pass_draws});
  runtime::resolve_steps(config, sampler.pass_draws());
  model::StableDiffusion model = model::load_model(resolve_model(model_options(config)));
  if (config.train.inpainting) model::widen_for_inpainting(model);
  runtime::move_model(model, device);
  runtime::set_training_schedule(config, model.schedule);
  runtime::require_fit(config, store, model);
  runtime::check_sample_prompts(config, model);
  use_gradient_checkpointing(config.train.gradient_checkpointing, model);
  const model::Parameters trained = runtime::trained_parameters(config, model);
  round_untrained(config, trained, model);

  const auto objective = config.trains("vae")
                             ? runtime::make_autoencoder_objective(model.vae, config)
                             : runtime::make_denoising_objective(model, config);
  runtime::Trainer trainer(
      config, trained, *objective, runtime::DrawCounter(store.manifest().categories, store.rows()),
      runtime::Audit(folder.path, config.audit.batches, *communicator), *communicator);
  const runtime::RunIdentity identity{config.seed, config.train.global_batch};
  std::vector<metrics::RunChange> changes;
  if (folder.resume_from) {
    changes = runtime::changes_since(*folder.resume_from, config, options.allowed_changes, store);
    runtime::load_checkpoint(*folder.resume_from, identity, trainer);
  }
  runtime::require_same_start(config, folder, store, trainer.flat(), *communicator);
  if (first) {
    runtime::write_run_description(folder.path, config, store.manifest().categories, mixture,
                                   sampler.pass_draws());
    runtime::print_run_summary(config, folder, store, mixture, sampler, model.tokenizer, trainer,
                               *communicator);
  }

  runtime::RunMonitor monitor(folder.path, config, trainer.steps_done(), *communicator);
  for (const metrics::RunChange& change : changes) monitor.note(change);
  const auto timed = [&](Phase phase, const auto& work) {
    const Stopwatch watch;
    work();
    monitor.add_seconds(phase, watch.seconds());
  };
  const auto preview = [&] {
    const runtime::BorrowedWeights borrowed(trainer.flat(), trainer.published_values());
    runtime::write_preview(folder.path, trainer.steps_done(), config, model, *communicator);
  };
  runtime::CheckpointWriter writer(folder.path, config, identity, store, model, *communicator);
  const auto checkpoint = [&] {
    writer.finish();
    if (config.vae.fit_scaling_factor && config.trains("vae")) {
      const runtime::BorrowedWeights borrowed(trainer.flat(), trainer.published_values());
      model.vae.config().scaling_factor = runtime::fit_scaling_factor(model.vae, store);
    }
    writer.begin(trainer);
  };
  const auto due = [&](uint64_t every) { return every > 0 && trainer.steps_done() % every == 0; };
  const bool previews =
      !config.sample.prompts.empty() && config.sample.every_steps > 0 && !config.trains("vae");

  data::LoaderOptions reading = loader_options(config, model, trainer.steps_done(), *communicator);
  reading.pinned = device.is_cuda();
  data::Loader loader(store, std::move(sampler), reading);
  const data::ValidationSet validation(store, held_out, reading);
  if (previews && trainer.steps_done() == 0) timed(Phase::kSample, preview);
  Stopwatch since_checkpoint;
  runtime::Wishes wishes;
  bool checkpoint_due = false;
  while (trainer.steps_done() < config.train.steps && !wishes.stop) {
    wishes.stop =
        stop.requested() || (config.train.stop_after_hours > 0 &&
                             since_start.seconds() > 3600 * config.train.stop_after_hours);
    wishes.checkpoint = first && config.checkpoint.every_minutes > 0 &&
                        since_checkpoint.seconds() > 60 * config.checkpoint.every_minutes;
    wishes.writer = writer.own_state();
    metrics::StepRecord record = trainer.step(loader, wishes);
    writer.advance(wishes.writer);
    writer.reserve(trainer);
    const bool last = trainer.steps_done() == config.train.steps;
    if (validation.draws() > 0 && !wishes.stop && (last || due(config.validation.every_steps))) {
      timed(Phase::kValidation, [&] {
        record.validation_loss =
            runtime::validation_loss(validation, *objective, trainer, *communicator);
      });
    }
    monitor.record(std::move(record));
    checkpoint_due |= wishes.checkpoint || due(config.checkpoint.every_steps);
    if (wishes.stop || last || (checkpoint_due && !writer.busy())) {
      timed(Phase::kCheckpoint, checkpoint);
      since_checkpoint = {};
      checkpoint_due = false;
    }
    if (previews && !wishes.stop && (last || due(config.sample.every_steps)))
      timed(Phase::kSample, preview);
  }
  if (!writer.finish()) {
    throw Error(ExitCode::kCannotWrite,
                fmt::format("{}: the checkpoint of step {} could not be written; the same command "
                            "goes on from the one before",
                            folder.path.string(), trainer.steps_done()));
  }
  if (trainer.steps_done() >= config.train.steps) return ExitCode::kDone;
  if (first) {
    fmt::print(stderr, "stopped at step {} of {}, with a checkpoint; the same command goes on\n",
               trainer.steps_done(), config.train.steps);
  }
  return ExitCode::kStopped;
}

}  // namespace kessoku::launcher
