#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "data/sampling/mixture.h"

namespace kessoku::runtime {

/// A run file (TOML), every key with its default. Relative paths are relative to the working
/// directory.
struct RunConfig {
  std::string name = "run";  ///< names the run folder, the metrics' label and the report
  uint64_t seed = 555;       ///< of everything random in the run

  struct Model {
    std::string path;    ///< diffusers folder, or lone .safetensors or .ckpt file, to start from
    std::string config;  ///< model folder whose configs and tokenizer a lone file takes
    std::string vae;     ///< folder or file of a VAE to use instead of the model's
    bool ema = false;    ///< start from the moving averages of a lone file's UNet
  } model;

  struct Data {
    std::string store;  ///< made by `kessoku prepare`
    double caption_dropout =
        0;  ///< probability of the empty caption; cond_dropout.txt overrides it
    std::vector<std::pair<std::string, std::string>> caption_rename;  ///< [from, to], whole words
    int64_t max_token_length = 75;  ///< of a caption: 75, or 150 or 225 in chunks of 75
    std::string front_end;          ///< the tokenizer's: "hf" | "openai"; empty = as the model says
    bool shuffle_tags = false;      ///< new order of the comma-separated tags at each draw
    int64_t keep_tags = 0;          ///< tags behind the main prompt that stay where they are
    double flip = 0;                ///< probability of a mirrored image; flip_p.txt overrides it
    int64_t threads = 2;            ///< that read ahead, a rank
    int64_t prefetch = 4;           ///< batches read ahead, a rank
    std::string on_bad_row = "stop";  ///< a row that is damaged: "stop" | "skip" (another image)

    /// Of 75 tokens each.
    int64_t caption_chunks() const { return max_token_length / 75; }
  } data;

  struct MixtureSection {
    data::MixtureRules
        rules;  ///< folder glob = weight among its siblings; none: multiply.txt decides
    uint64_t pass_draws = 0;  ///< draws a pass; 0 = until the rarest image was drawn once
  } mixture;

  struct Train {
    std::vector<std::string> target{"unet", "text_encoder"};  ///< or ["vae"]
    uint64_t steps = 1000;                                    ///< optimizer steps
    double stop_after_hours =
        0;                      ///< of this start of the run: then stop with a checkpoint; 0 = off
    uint64_t global_batch = 4;  ///< draws a step, over all ranks
    uint64_t micro_batch = 4;   ///< draws a rank holds at once, at most
    std::string precision = "fp32";       ///< of weights and activations: "fp32" | "bf16" | "fp16"
    bool gradient_checkpointing = false;  ///< activations computed again in backward, not kept
    std::string device = "auto";          ///< "auto" | "cpu"
    int64_t threads = 0;                  ///< CPU threads a rank; 0 = cores / ranks on the host
    int64_t clip_skip = 0;                ///< last layers of the text encoder that are left out
    std::string prediction =
        "";  ///< "epsilon" | "v_prediction"; empty = as the model's scheduler says
    std::string beta_schedule;  ///< "scaled_linear" | "linear" | "squaredcos_cap_v2"; empty = same
    std::vector<double> beta_range;  ///< [start, end]; empty = same
    bool zero_terminal_snr = false;  ///< the last timestep is pure noise (needs v prediction)
    double min_snr_gamma = 0;        ///< limit of the SNR in the loss weights; 0 = off
    double noise_offset = 0;         ///< deviation of the noise that a whole channel shares
    int64_t pyramid_levels = 0;      ///< of ever coarser noise; 0 = off
    double pyramid_discount = 0.3;   ///< weight of a level, to the power of its number
    bool inpainting = false;         ///< the UNet also sees a mask and what it leaves of the image
    double whole_masks = 0.25;       ///< probability that such a mask covers all of it
    std::vector<int64_t> timesteps;  ///< [first, one past the last] drawn; empty = all
  } train;

  struct Vae {
    double l2_weight = 0;  ///< of the squared error; the absolute error has weight 1
    double gradient_weight =
        0;  ///< of the absolute error of horizontal and vertical differences (edges)
    double kl_weight = 1e-6;  ///< of the KL divergence to the unit normal, a latent element
    bool fit_scaling_factor =
        false;  ///< write 1 / (standard deviation of the latents) into the model's config
  } vae;

  struct Optimizer {
    std::string name = "adamw";  ///< "adamw" | "lion"
    double lr = 1e-6;
    double text_encoder_lr = -1;  ///< below 0: as lr
    double weight_decay = 0.01;
    std::vector<std::string>
        no_decay;  ///< parameter names with * (e.g. "*.bias") that are not decayed
    std::vector<std::string> freeze;  ///< parameter names with * that are not trained
    std::vector<std::pair<std::string, double>>
        lr_scale;  ///< [name with *, factor on the learning rate]; the last that matches counts
    std::vector<double> betas{0.9, 0.999};  ///< Lion's are 0.9, 0.99
    double eps = 1e-8;                      ///< AdamW's
    double grad_clip = 1.0;                 ///< global norm; 0 = off
    /// "constant" | "linear" | "cosine" | "cosine_with_restarts" | "polynomial"
    std::string schedule = "constant";
    uint64_t warmup_steps = 0;     ///< linear from 0
    uint64_t schedule_cycles = 1;  ///< of cosine_with_restarts
    double schedule_power = 1;     ///< of polynomial
    double end_lr = 1e-7;          ///< where polynomial ends, if the peak is lr
    bool shard = true;             ///< ZeRO-1: optimizer state split over ranks
  } optimizer;

  struct Ema {
    double decay = 0;  ///< 0 = off; what is sampled and saved for use are then the averaged weights
  } ema;

  struct Communication {
    std::string wire = "fp32";     ///< what gradients travel as: "fp32" | "bf16" (summed in fp32)
    double bucket_mb = 25;         ///< MiB of gradients that are sent at once
    bool overlap = true;           ///< send while backward runs
    double timeout_seconds = 600;  ///< an exchange that takes longer ends the run with 76; 0 = off
  } communication;

  struct Checkpoint {
    uint64_t every_steps = 1000;         ///< 0 = at the end only
    double every_minutes = 30;           ///< 0 = off
    uint64_t keep = 3;                   ///< newest ones that stay; 0 = all
    uint64_t keep_every_steps = 0;       ///< those at multiples of it stay too; 0 = none
    bool background = true;              ///< write while training goes on, from a copy in memory
    std::string weights_dtype = "fp16";  ///< of the diffusers folder: "fp16" | "bf16" | "fp32"
  } checkpoint;

  struct Sample {
    uint64_t every_steps = 0;  ///< 0 = off
    std::vector<std::string> prompts;
    std::string negative;
    int64_t steps = 28;
    double cfg = 7.5;
    std::string solver = "dpmpp_2m";
    std::vector<int64_t> size;  ///< [width, height] in pixels; empty = the model's own
  } sample;

  struct Validation {
    double fraction = 0;  ///< of each folder's images, never drawn, told by their content; 0 = none
    uint64_t every_steps =
        500;  ///< when their loss is measured, and at the end; 0 = at the end only
  } validation;

  struct Metrics {
    std::string address = "127.0.0.1";  ///< where /metrics listens
    int64_t port = 9460;                ///< + local rank; 0 = any free port; below 0 = off
    std::string file_sd =
        "metrics/targets.json";  ///< Prometheus targets, relative to the run folder
  } metrics;

  struct Audit {
    uint64_t batches = 0;  ///< first global batches to write out for replay elsewhere
  } audit;

  bool trains(const std::string& part) const;
};

/// Reads a run file; `overrides` are "section.key=value" (--set). Unknown keys, wrong types and
/// impossible values are UsageErrors that name file, line and the nearest key.
RunConfig load_config(const std::filesystem::path& file,
                      const std::vector<std::string>& overrides = {});

/// The way back from `to_toml`, for what an earlier program wrote: keys that are no more are passed
/// over. `where` names it in errors.
RunConfig parse_config(const std::string& toml, const std::filesystem::path& where);

/// The resolved configuration as TOML, all keys, in the order above.
std::string to_toml(const RunConfig& config);

}  // namespace kessoku::runtime
