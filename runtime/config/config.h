#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "data/loading/loader_settings.h"
#include "data/loading/mask.h"
#include "data/loading/noise.h"
#include "data/sampling/mixture.h"
#include "model/pipeline/generation_defaults.h"

namespace kessoku::runtime {

/// A run file (TOML), every key with its default. declare_*.cpp say what each means and which
/// values it takes (`kessoku keys` prints it). Relative paths are relative to the working
/// directory.
struct RunConfig {
  std::string name = "run";
  uint64_t seed = 555;

  struct Model {
    std::string path, config, vae;
    bool ema = false;
  } model;

  struct Data : data::LoaderSettings {
    std::string store;
    int64_t max_token_length = 75;
    std::string front_end;
    std::string on_bad_row = "stop";

    /// Of 75 tokens each.
    int64_t caption_chunks() const { return max_token_length / 75; }
  } data;

  struct MixtureSection {
    data::MixtureRules rules;  ///< none: multiply.txt decides
    uint64_t pass_draws = 0;
  } mixture;

  struct Train {
    std::vector<std::string> target{"unet", "text_encoder"};
    uint64_t steps = 1000;
    double passes = 0;
    double stop_after_hours = 0;
    uint64_t global_batch = 4, micro_batch = 4;
    std::string precision = "auto";
    bool gradient_checkpointing = false;
    std::string device = "auto";
    bool deterministic = true;
    int64_t threads = 0;
    int64_t clip_skip = 0;
    std::string prediction, beta_schedule;
    std::vector<double> beta_range;
    bool zero_terminal_snr = false;
    double min_snr_gamma = 0;
    data::NoiseOptions noise;
    bool inpainting = false;
    data::MaskOptions masks;
    std::vector<int64_t> timesteps;
  } train;

  struct Vae {
    double l2_weight = 0, gradient_weight = 0, kl_weight = 1e-6;
    bool fit_scaling_factor = false;
  } vae;

  struct Optimizer {
    std::string name = "adamw";
    double lr = 1e-6;
    double text_encoder_lr = -1;
    double weight_decay = 0.01;
    std::vector<std::string> no_decay, freeze;
    std::vector<std::pair<std::string, double>> lr_scale;
    std::vector<double> betas{0.9, 0.999};
    double eps = 1e-8;
    double grad_clip = 1.0;
    std::string schedule = "constant";
    uint64_t warmup_steps = 0, schedule_cycles = 1;
    double schedule_power = 1, end_lr = 1e-7;
    bool shard = true;
  } optimizer;

  struct Ema {
    double decay = 0;
  } ema;

  struct Communication {
    std::string wire = "fp32";
    std::string reduction = "exact";
    double bucket_mb = 25;
    bool overlap = true;
    double timeout_seconds = 600;
  } communication;

  struct Verify {
    uint64_t every_steps = 100;
    bool memory = false;
  } verify;

  struct Checkpoint {
    uint64_t every_steps = 1000;
    double every_minutes = 30;
    uint64_t keep = 3, keep_every_steps = 0;
    bool background = true;
    std::string weights_dtype = "fp16";
    double memory_share = 0.02;
    bool memory_on_peers = true;
    std::string memory_folder = "/dev/shm";
  } checkpoint;

  struct Sample {
    uint64_t every_steps = 0;
    std::vector<std::string> prompts;
    std::string negative;
    int64_t steps = model::GenerationDefaults().steps;
    double cfg = model::GenerationDefaults().cfg;
    std::string solver{model::GenerationDefaults().solver};
    std::vector<int64_t> size;
  } sample;

  struct Validation {
    double fraction = 0;
    uint64_t every_steps = 500;
  } validation;

  struct Metrics {
    std::string address = "127.0.0.1";
    int64_t port = 9460;
    std::string file_sd = "metrics/targets.json";
    int64_t launch_port = 0;
    std::string login_file;
    double peak_tflops = 0;
    bool tensorboard = false;
    bool ledger = false;
  } metrics;

  struct Audit {
    uint64_t batches = 0;
  } audit;

  bool trains(const std::string& part) const;
  /// Whether sample prompts are drawn during training.
  bool draws_samples() const;
};

/// Reads a run file; `overrides` are "section.key=value" (--set). Throws UsageError that names
/// file, line and key, or the override, for unknown keys (with what was probably meant) and for
/// values that a key does not take.
RunConfig load_config(const std::filesystem::path& file,
                      const std::vector<std::string>& overrides = {});

/// The way back from `to_toml`, for what an earlier program wrote: keys that are no more are passed
/// over, and values are not checked. `where` names it in errors.
RunConfig parse_config(const std::string& toml, const std::filesystem::path& where);

/// The resolved configuration as TOML, all keys.
std::string to_toml(const RunConfig& config);

/// What a user would want to know about settings that are permitted, but have no effect or an odd
/// one; one line each.
std::vector<std::string> settings_warnings(const RunConfig& config);

}  // namespace kessoku::runtime
