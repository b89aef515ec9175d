#include "runtime/config/unknown_key.h"

#include <algorithm>

#include "base/error.h"
#include "runtime/config/key.h"

namespace kessoku::runtime {

namespace {

/// What EveryDream2, kohya's scripts, OneTrainer and diffusers' scripts call things.
struct ForeignName {
  const char* name;
  const char* ours;    ///< a key; empty: there is none
  const char* remark;  ///< where the meaning differs, or what to do instead; empty: none
};

constexpr const char* kPrepare = "it is an option of `kessoku prepare`";
constexpr const char* kSteps = "in steps, not epochs";
constexpr const char* kPasses = "a pass draws the rarest image once; or set train.steps";
constexpr const char* kGlobalBatch = "which counts the draws of a step over all ranks";

constexpr ForeignName kForeignNames[] = {
    {"adam_beta1", "optimizer.betas", ""},
    {"adam_beta2", "optimizer.betas", ""},
    {"adam_epsilon", "optimizer.eps", ""},
    {"adam_weight_decay", "optimizer.weight_decay", ""},
    {"amp", "train.precision", "\"fp16\" or \"bf16\""},
    {"aspect_ratio_bucketing", "", kPrepare},
    {"auto_split_proportion", "validation.fraction", ""},
    {"base_model_name", "model.path", ""},
    {"batch_size", "train.global_batch", kGlobalBatch},
    {"caption_dropout_probability", "data.caption_dropout", ""},
    {"caption_dropout_rate", "data.caption_dropout", ""},
    {"checkpointing_steps", "checkpoint.every_steps", ""},
    {"checkpoints_total_limit", "checkpoint.keep", ""},
    {"ckpt_every_n_minutes", "checkpoint.every_minutes", ""},
    {"clip_grad_norm", "optimizer.grad_clip", ""},
    {"cond_dropout", "data.caption_dropout", ""},
    {"conditional_dropout", "data.caption_dropout", ""},
    {"concepts", "data.store", "the folder that `kessoku prepare` made of the images"},
    {"data_root", "data.store", "the folder that `kessoku prepare` made of the images"},
    {"dataloader_num_workers", "data.threads", ""},
    {"dataset_name", "data.store", "the folder that `kessoku prepare` made of the images"},
    {"disable_textenc_training", "train.target", "[\"unet\"]"},
    {"disable_unet_training", "train.target", "[\"text_encoder\"]"},
    {"ema_decay_rate", "ema.decay", ""},
    {"enable_bucket", "", "buckets are always used; `kessoku prepare --buckets` chooses them"},
    {"enable_zero_terminal_snr", "train.zero_terminal_snr", ""},
    {"epochs", "train.passes", kPasses},
    {"epsilon", "optimizer.eps", ""},
    {"flip_aug", "data.flip", "a probability; the store needs images or `--variants 2`"},
    {"flip_p", "data.flip", "the store needs images or `--variants 2`"},
    {"gradient_accumulation_steps", "train.micro_batch",
     "accumulation follows: train.global_batch / (ranks x train.micro_batch)"},
    {"grad_accum", "train.micro_batch",
     "accumulation follows: train.global_batch / (ranks x train.micro_batch)"},
    {"image_column", "data.store", "the folder that `kessoku prepare` made of the images"},
    {"instance_data_dir", "data.store", "the folder that `kessoku prepare` made of the images"},
    {"keep_tokens", "data.keep_tags",
     "one less: keep_tokens counts the main prompt, which keep_tags always keeps"},
    {"learning_rate", "optimizer.lr", ""},
    {"learning_rate_scheduler", "optimizer.schedule", ""},
    {"learning_rate_te", "optimizer.text_encoder_lr", ""},
    {"learning_rate_warmup_steps", "optimizer.warmup_steps", ""},
    {"logging_dir", "", "give the run folder with --out"},
    {"lr_num_cycles", "optimizer.schedule_cycles", ""},
    {"lr_decay_steps", "train.steps", "schedules end at the last step"},
    {"lr_power", "optimizer.schedule_power", ""},
    {"lr_scheduler", "optimizer.schedule", ""},
    {"lr_scheduler_num_cycles", "optimizer.schedule_cycles", ""},
    {"lr_scheduler_power", "optimizer.schedule_power", ""},
    {"lr_scheduler_type", "optimizer.schedule", ""},
    {"lr_warmup_steps", "optimizer.warmup_steps", ""},
    {"max_data_loader_n_workers", "data.threads", ""},
    {"max_epochs", "train.passes", kPasses},
    {"max_grad_norm", "optimizer.grad_clip", ""},
    {"max_steps", "train.steps", ""},
    {"max_timestep", "train.timesteps", "[first, end]"},
    {"max_train_epochs", "train.passes", kPasses},
    {"max_train_steps", "train.steps", ""},
    {"min_timestep", "train.timesteps", "[first, end]"},
    {"mixed_precision", "train.precision", ""},
    {"model_name", "model.path", ""},
    {"multires_noise_discount", "train.pyramid_discount", ""},
    {"multires_noise_iterations", "train.pyramid_levels", ""},
    {"negative_prompt", "sample.negative", ""},
    {"noise_offset_weight", "train.noise_offset", ""},
    {"noise_scheduler", "sample.solver", ""},
    {"num_epochs", "train.passes", kPasses},
    {"num_inference_steps", "sample.steps", ""},
    {"num_train_epochs", "train.passes", kPasses},
    {"num_workers", "data.threads", ""},
    {"optimizer_type", "optimizer.name", ""},
    {"output_dir", "", "give the run folder with --out"},
    {"output_name", "name", ""},
    {"prediction_type", "train.prediction", ""},
    {"output_dtype", "checkpoint.weights_dtype", ""},
    {"pretrained_model_name_or_path", "model.path", ""},
    {"project_name", "name", ""},
    {"pyramid_noise_discount", "train.pyramid_discount", "together with train.pyramid_levels = 10"},
    {"random_flip", "data.flip", "a probability; the store needs images or `--variants 2`"},
    {"repeats", "", "write multiply.txt beside the images, or weights in [mixture]"},
    {"resolution", "", "it is an option of `kessoku prepare`: --resolution"},
    {"resume_ckpt", "model.path", "a run itself is resumed by the same command"},
    {"resume_from_checkpoint", "", "the same command resumes a run; --resume chooses"},
    {"sample.scheduler", "sample.solver", ""},
    {"sample_every_n_steps", "sample.every_steps", ""},
    {"sample_sampler", "sample.solver", ""},
    {"sample_steps", "sample.every_steps", "in EveryDream2; sample.steps are the solver's steps"},
    {"save_every_n_epochs", "checkpoint.every_steps", kSteps},
    {"save_every_n_steps", "checkpoint.every_steps", ""},
    {"save_full_precision", "checkpoint.weights_dtype", "\"fp32\""},
    {"save_last_n_steps", "checkpoint.keep", ""},
    {"save_precision", "checkpoint.weights_dtype", ""},
    {"scale_lr", "", "learning rates are taken as they are, whatever the number of ranks"},
    {"scale_v_pred_loss_like_noise_pred", "", "there is no such weight; see train.min_snr_gamma"},
    {"shuffle_caption", "data.shuffle_tags", ""},
    {"snr_gamma", "train.min_snr_gamma", ""},
    {"text_encoder_learning_rate", "optimizer.text_encoder_lr", ""},
    {"timestep_end", "train.timesteps", "[first, end]"},
    {"timestep_start", "train.timesteps", "[first, end]"},
    {"train_batch_size", "train.global_batch", kGlobalBatch},
    {"train_data_dir", "data.store", "the folder that `kessoku prepare` made of the images"},
    {"train_dtype", "train.precision", ""},
    {"train_text_encoder", "train.target", "[\"unet\", \"text_encoder\"]"},
    {"unet_lr", "optimizer.lr", ""},
    {"use_ema", "ema.decay", "e.g. 0.9999; 0 = off"},
    {"v_parameterization", "train.prediction", "\"v_prediction\""},
    {"vae_path", "model.vae", ""},
    {"val_split_proportion", "validation.fraction", ""},
    {"validation_prompts", "sample.prompts", ""},
    {"zero_frequency_noise_ratio", "train.noise_offset", ""},
};

std::string bare(const std::string& full_name) {
  return full_name.substr(full_name.rfind('.') + 1);
}

/// "did you mean a, b or c?"
std::string did_you_mean(const std::vector<std::string>& names) {
  return fmt::format("did you mean {}?", fmt::join(names, " or "));
}

std::string suggestion(const std::string& full_name) {
  const std::string name = bare(full_name);
  std::vector<std::string> same, neighbors, all;
  for (const Key& key : all_keys()) {
    if (key.name.empty()) continue;
    if (key.name == name) same.push_back(key.full_name());
    if (full_name.starts_with(key.section + ".")) neighbors.push_back(key.name);
    all.push_back(key.full_name());
  }
  for (const ForeignName& foreign : kForeignNames) {
    if ((name != foreign.name && full_name != foreign.name) || !same.empty()) continue;
    const std::string remark = foreign.remark;
    if (*foreign.ours == '\0') return remark;
    return did_you_mean({foreign.ours}) + (remark.empty() ? "" : " (" + remark + ")");
  }
  if (!same.empty()) return did_you_mean(same);
  const std::string neighbor = nearest_word(name, neighbors);
  if (!neighbor.empty())
    return did_you_mean({full_name.substr(0, full_name.size() - name.size()) + neighbor});
  const std::string nearest = nearest_word(full_name, all);
  return nearest.empty() ? "`kessoku keys` lists all keys" : did_you_mean({nearest});
}

}  // namespace

std::string explain_unknown_key(const std::string& full_name) {
  return fmt::format("{} is not a key of a run file; {}", full_name, suggestion(full_name));
}

std::string explain_unknown_section(const std::string& name) {
  const std::vector<std::string> sections = all_sections();
  const std::string nearest = nearest_word(name, sections);
  return fmt::format("[{}] is not a section of a run file; {}", name,
                     nearest.empty() ? fmt::format("there are {}", fmt::join(sections, ", "))
                                     : fmt::format("did you mean [{}]?", nearest));
}

}  // namespace kessoku::runtime
