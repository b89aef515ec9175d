#include "runtime/config/declare.h"

namespace kessoku::runtime {

namespace {

using Train = RunConfig::Train;

bool trains_vae(const RunConfig& config) { return config.trains("vae"); }
bool trains_unet(const RunConfig& config) { return config.trains("unet"); }
bool trains_text_encoder(const RunConfig& config) { return config.trains("text_encoder"); }

constexpr const char* kVaeTarget = R"(train.target = ["vae"])";

void declare_steps(std::vector<Key>& keys) {
  const Section key(keys, "train", &RunConfig::train);
  key("target", &Train::target, R"(what is trained; "vae" alone)")
      .one_of({"unet", "text_encoder", "vae"})
      .page("training.md")
      .on_resume(OnResume::kFixed);
  key("steps", &Train::steps, "length of the run")
      .from_to(1, 1e9)
      .unit("optimizer steps")
      .on_resume(OnResume::kRecorded);
  key("passes", &Train::passes,
      "length of the run in passes over the mixture, instead of train.steps; 0 = off")
      .from_to(0, 1e6)
      .unit("passes")
      .page("mixture.md")
      .on_resume(OnResume::kFree);  // train.steps, which follows from it, is recorded
  key("stop_after_hours", &Train::stop_after_hours,
      "stop with a checkpoint and exit code 75 so long after this start of the run; the same "
      "command resumes it; 0 = off")
      .from_to(0, 1e6)
      .unit("hours")
      .on_resume(OnResume::kFree);
  key("global_batch", &Train::global_batch, "draws of a step, over all ranks")
      .from_to(1, 1e6)
      .unit("draws")
      .on_resume(OnResume::kFixed);
  key("micro_batch", &Train::micro_batch,
      "draws that a rank holds at once, at most; the rest is accumulated")
      .from_to(1, 1e6)
      .unit("draws")
      .on_resume(OnResume::kFree);
  key("precision", &Train::precision,
      "what forward and backward compute in; auto = bf16 on GPUs, fp32 on CPUs, and in a resumed "
      "run what it was; fp16 with dynamic loss scaling, tf32 is fp32 whose products GPUs from "
      "Ampere on round to 10 bits. Gradients are summed and weights updated in fp32 either way")
      .one_of({"auto", "fp32", "bf16", "fp16", "tf32"});
  key("gradient_checkpointing", &Train::gradient_checkpointing,
      "recompute activations in backward instead of keeping them: far less memory, a third more "
      "arithmetic, the same gradients to the bit")
      .on_resume(OnResume::kFree);
  key("device", &Train::device, R"("auto" = a GPU if there is one)")
      .one_of({"auto", "cuda", "cpu"})
      .page("gpu.md")
      .on_resume(OnResume::kFree);
  key("deterministic", &Train::deterministic,
      "on GPUs: take only kernels that give the same bits in every run; false is faster")
      .page("gpu.md")
      .on_resume(OnResume::kRecorded);
  key("threads", &Train::threads, "CPU threads of a rank; 0 = cores / ranks on the host")
      .from_to(0, 4096)
      .on_resume(OnResume::kFree);
  key("clip_skip", &Train::clip_skip,
      "last layers of the text encoder that are left out, counted as diffusers does")
      .from_to(0, 100)
      .unit("layers")
      .page("captions.md")
      .fixed_if(trains_text_encoder);
}

void declare_noise(std::vector<Key>& keys) {
  const Section key(keys, "train", &RunConfig::train);
  key("prediction", &Train::prediction, "what the UNet predicts")
      .one_of({"epsilon", "v_prediction"})
      .shown_default("as the model")
      .page("training.md");
  key("beta_schedule", &Train::beta_schedule, "how the noise grows over the timesteps")
      .one_of({"scaled_linear", "linear", "squaredcos_cap_v2"})
      .shown_default("as the model")
      .page("training.md");
  key("beta_range", &Train::beta_range, "first and last beta of the noise schedule, rising")
      .items({"start", "end"})
      .above(0)
      .below(1)
      .shown_default("as the model")
      .page("training.md");
  key("zero_terminal_snr", &Train::zero_terminal_snr,
      "the last timestep is pure noise; needs v_prediction")
      .shown_default("as the model")
      .page("training.md");
  key("min_snr_gamma", &Train::min_snr_gamma,
      "limit of the signal-to-noise ratio in the loss weights, usually 5; 0 = off")
      .at_least(0)
      .page("training.md");
  key(
      "noise_offset", [](Train& train) -> double& { return train.noise.offset; },
      "deviation of the noise that a whole channel shares, usually 0.05 to 0.1; 0 = off")
      .probability();
  key(
      "pyramid_levels", [](Train& train) -> int64_t& { return train.noise.pyramid_levels; },
      "levels of ever coarser noise; 0 = off")
      .from_to(0, 10)
      .unit("levels");
  key(
      "pyramid_discount", [](Train& train) -> double& { return train.noise.pyramid_discount; },
      "weight of a level, to the power of its number")
      .probability()
      .only_with("train.pyramid_levels",
                 [](const RunConfig& config) { return config.train.noise.pyramid_levels > 0; });
  key("inpainting", &Train::inpainting,
      "train an inpainting model: the UNet, widened to 9 channels, also sees a random mask and "
      "what it leaves of the image; the store must keep images (--keep moments,images)")
      .page("training.md")
      .fixed_if(trains_unet);
  key(
      "whole_masks", [](Train& train) -> double& { return train.masks.whole; },
      "probability that the mask covers the whole image")
      .probability()
      .only_with("train.inpainting",
                 [](const RunConfig& config) { return config.train.inpainting; });
  key("timesteps", &Train::timesteps, "timesteps that are drawn, evenly: first, one past the last")
      .items({"first", "end"})
      .at_least(0)
      .shown_default("all")
      .page("training.md");
}

void declare_vae(std::vector<Key>& keys) {
  using Vae = RunConfig::Vae;
  const Section key(keys, "vae", &RunConfig::vae);
  key("l2_weight", &Vae::l2_weight, "weight of the squared error beside the absolute one")
      .at_least(0)
      .only_with(kVaeTarget, trains_vae);
  key("gradient_weight", &Vae::gradient_weight,
      "weight of the absolute error of neighboring pixels' differences (edges)")
      .at_least(0)
      .only_with(kVaeTarget, trains_vae);
  key("kl_weight", &Vae::kl_weight,
      "weight of the KL divergence to the unit normal, a latent element")
      .at_least(0)
      .only_with(kVaeTarget, trains_vae);
  key("fit_scaling_factor", &Vae::fit_scaling_factor,
      "write 1 / (standard deviation of the latents) into the model's config")
      .only_with(kVaeTarget, trains_vae);
}

}  // namespace

void declare_train(std::vector<Key>& keys) {
  declare_steps(keys);
  declare_noise(keys);
  declare_vae(keys);
}

}  // namespace kessoku::runtime
