#include "model/diffusion/solver.h"
#include "model/pipeline/generation_limits.h"
#include "runtime/config/declare.h"

namespace kessoku::runtime {

namespace {

bool holds_out(const RunConfig& config) { return config.validation.fraction > 0; }
bool has_prompts(const RunConfig& config) {
  return !config.sample.prompts.empty() && !config.trains("vae");
}

void declare_verify(std::vector<Key>& keys) {
  const Section key(keys, "verify", &RunConfig::verify);
  key("every_steps", &RunConfig::Verify::every_steps,
      "interval at which ranks compare digests of their weights and compute a micro-batch again; "
      "wrong bits end the run with exit code 77; 0 = off")
      .from_to(0, 1e9)
      .unit("steps")
      .page("verification.md")
      .on_resume(OnResume::kFree);
  key("memory", &RunConfig::Verify::memory,
      "at every step, also compare weights, moments and averages with digests of them after the "
      "step before: finds bits that flip in memory")
      .page("verification.md")
      .on_resume(OnResume::kFree);
}

void declare_checkpoint(std::vector<Key>& keys) {
  using Checkpoint = RunConfig::Checkpoint;
  const Section key(keys, "checkpoint", &RunConfig::checkpoint);
  key("every_steps", &Checkpoint::every_steps,
      "interval between checkpoints; 0 = off (a run always ends with one)")
      .from_to(0, 1e9)
      .unit("steps")
      .page("checkpoints.md")
      .on_resume(OnResume::kFree);
  key("every_minutes", &Checkpoint::every_minutes, "interval between checkpoints; 0 = off")
      .from_to(0, 1e6)
      .unit("minutes")
      .on_resume(OnResume::kFree);
  key("keep", &Checkpoint::keep, "newest checkpoints that are kept; 0 = all")
      .from_to(0, 1e6)
      .on_resume(OnResume::kFree);
  key("keep_every_steps", &Checkpoint::keep_every_steps,
      "checkpoints at multiples of it are kept too; 0 = none")
      .from_to(0, 1e9)
      .unit("steps")
      .on_resume(OnResume::kFree)
      .only_with("checkpoint.keep above 0",
                 [](const RunConfig& config) { return config.checkpoint.keep > 0; });
  key("background", &Checkpoint::background,
      "write while training continues, from a copy in memory; where that does not fit, training "
      "waits")
      .on_resume(OnResume::kFree);
  key("weights_dtype", &Checkpoint::weights_dtype,
      "what the weights in the diffusers folder are saved as; the training state is always exact")
      .one_of({"fp16", "bf16", "fp32"})
      .on_resume(OnResume::kFree);
  key("memory_share", &Checkpoint::memory_share,
      "share of the time that copies of the training state in memory may take, from which kessoku "
      "launch restarts if they are newer than the checkpoints; 0 = none")
      .from_to(0, 1)
      .page("checkpoints.md#checkpoints-in-memory")
      .on_resume(OnResume::kFree);
  key("memory_on_peers", &Checkpoint::memory_on_peers,
      "whether another host keeps these copies too, so that the loss of a host loses no more than "
      "that of a rank: as much memory and traffic again")
      .on_resume(OnResume::kFree);
  key("memory_folder", &Checkpoint::memory_folder,
      "where these copies lie on each host: a file system in memory")
      .on_resume(OnResume::kFree);
}

void declare_sample(std::vector<Key>& keys) {
  using Sample = RunConfig::Sample;
  const Section key(keys, "sample", &RunConfig::sample);
  key("every_steps", &Sample::every_steps,
      "interval at which the sample prompts are drawn, also at the start and the end; 0 = off")
      .from_to(0, 1e9)
      .unit("steps")
      .on_resume(OnResume::kRecorded)
      .only_with("sample.prompts", has_prompts);
  key("prompts", &Sample::prompts, "one image each; their seeds count up from the run's")
      .or_file()
      .on_resume(OnResume::kRecorded)
      .only_with("sample.every_steps",
                 [](const RunConfig& config) { return config.sample.every_steps > 0; });
  key("negative", &Sample::negative, "negative prompt").on_resume(OnResume::kRecorded);
  key("steps", &Sample::steps, "solver steps")
      .from_to(1, model::kMostSteps)
      .unit("steps")
      .on_resume(OnResume::kRecorded);
  key("cfg", &Sample::cfg, "guidance scale; 1 = none")
      .from_to(0, model::kMostCfg)
      .on_resume(OnResume::kRecorded);
  key("solver", &Sample::solver, "how noise becomes an image")
      .one_of(model::solver_names())
      .page("solvers.md")
      .on_resume(OnResume::kRecorded);
  key("size", &Sample::size, "size of the images; multiples of the VAE's downscale, 8 for SD 1.x")
      .items({"width", "height"})
      .from_to(1, model::kMostPixels)
      .unit("pixels")
      .shown_default("the model's own")
      .on_resume(OnResume::kRecorded);
}

}  // namespace

void declare_output(std::vector<Key>& keys) {
  declare_verify(keys);
  declare_checkpoint(keys);
  declare_sample(keys);

  using Validation = RunConfig::Validation;
  const Section validation(keys, "validation", &RunConfig::validation);
  validation("fraction", &Validation::fraction,
             "share of each folder's images that is never drawn, and whose loss is measured "
             "instead; 0 = none")
      .at_least(0)
      .below(1)
      .page("mixture.md");
  validation("every_steps", &Validation::every_steps,
             "interval between measurements; 0 = at the end only")
      .from_to(0, 1e9)
      .unit("steps")
      .on_resume(OnResume::kFree)
      .only_with("validation.fraction", holds_out);

  using Metrics = RunConfig::Metrics;
  const Section metrics(keys, "metrics", &RunConfig::metrics);
  metrics("address", &Metrics::address, "address on which /metrics listens")
      .page("metrics.md")
      .on_resume(OnResume::kFree);
  metrics("port", &Metrics::port,
          "port of local rank 0, the others follow; 0 = any free ports, -1 = off. A port that is "
          "taken is replaced by a free one, with a warning")
      .from_to(0, 65535)
      .or_else(-1)
      .on_resume(OnResume::kFree);
  metrics("file_sd", &Metrics::file_sd,
          "file of Prometheus targets, relative to the run folder; `launch` writes its own beside "
          "it, NAME-launch.json")
      .on_resume(OnResume::kFree);
  metrics("launch_port", &Metrics::launch_port,
          "port of `launch` itself; 0 = any free port, -1 = off (and with metrics.port = -1)")
      .from_to(0, 65535)
      .or_else(-1)
      .on_resume(OnResume::kFree);
  metrics("login_file", &Metrics::login_file,
          "file that holds USER:PASSWORD, which /metrics then asks for (basic auth)")
      .shown_default("none")
      .on_resume(OnResume::kFree);
  metrics(
      "peak_tflops", &Metrics::peak_tflops,
      "peak of a GPU, or of a rank's share of a CPU, in train.precision, by its data sheet or a "
      "benchmark; for MFU, the share of the peak that is used; 0 = not known")
      .from_to(0, 1e6)
      .unit("TFLOP/s")
      .on_resume(OnResume::kFree);
  metrics("tensorboard", &Metrics::tensorboard,
          "whether each step's numbers are written for TensorBoard, too: tensorboard/ in the run "
          "folder")
      .on_resume(OnResume::kFree);
  metrics("ledger", &Metrics::ledger,
          "whether the losses of each image are kept, by range of timesteps: ledger/ in the run "
          "folder, for `report` and `inspect`")
      .on_resume(OnResume::kFree);

  const Section audit(keys, "audit", &RunConfig::audit);
  audit("batches", &RunConfig::Audit::batches,
        "first global batches that are written to audit/ (latents, noise, timesteps, input ids, "
        "losses), to be replayed elsewhere")
      .from_to(0, 1e9)
      .unit("batches")
      .on_resume(OnResume::kFree);
}

}  // namespace kessoku::runtime
