#pragma once

#include "runtime/config/config.h"

namespace kessoku::runtime {

/// All sections and keys, in the order of the resolved file. `visit` is called as visit(section,
/// key, field).
template <typename Config, typename Visit>
void visit_fields(Config& c, Visit&& visit) {
  visit("", "name", c.name);
  visit("", "seed", c.seed);
  visit("model", "path", c.model.path);
  visit("model", "config", c.model.config);
  visit("model", "vae", c.model.vae);
  visit("model", "ema", c.model.ema);
  visit("data", "store", c.data.store);
  visit("data", "caption_dropout", c.data.caption_dropout);
  visit("data", "caption_rename", c.data.caption_rename);
  visit("data", "max_token_length", c.data.max_token_length);
  visit("data", "front_end", c.data.front_end);
  visit("data", "shuffle_tags", c.data.shuffle_tags);
  visit("data", "keep_tags", c.data.keep_tags);
  visit("data", "flip", c.data.flip);
  visit("data", "threads", c.data.threads);
  visit("data", "prefetch", c.data.prefetch);
  visit("data", "on_bad_row", c.data.on_bad_row);
  visit("mixture", "pass_draws", c.mixture.pass_draws);
  visit("mixture", "", c.mixture.rules);
  visit("train", "target", c.train.target);
  visit("train", "steps", c.train.steps);
  visit("train", "stop_after_hours", c.train.stop_after_hours);
  visit("train", "global_batch", c.train.global_batch);
  visit("train", "micro_batch", c.train.micro_batch);
  visit("train", "precision", c.train.precision);
  visit("train", "gradient_checkpointing", c.train.gradient_checkpointing);
  visit("train", "device", c.train.device);
  visit("train", "threads", c.train.threads);
  visit("train", "clip_skip", c.train.clip_skip);
  visit("train", "prediction", c.train.prediction);
  visit("train", "beta_schedule", c.train.beta_schedule);
  visit("train", "beta_range", c.train.beta_range);
  visit("train", "zero_terminal_snr", c.train.zero_terminal_snr);
  visit("train", "min_snr_gamma", c.train.min_snr_gamma);
  visit("train", "noise_offset", c.train.noise_offset);
  visit("train", "pyramid_levels", c.train.pyramid_levels);
  visit("train", "pyramid_discount", c.train.pyramid_discount);
  visit("train", "inpainting", c.train.inpainting);
  visit("train", "whole_masks", c.train.whole_masks);
  visit("train", "timesteps", c.train.timesteps);
  visit("vae", "l2_weight", c.vae.l2_weight);
  visit("vae", "gradient_weight", c.vae.gradient_weight);
  visit("vae", "kl_weight", c.vae.kl_weight);
  visit("vae", "fit_scaling_factor", c.vae.fit_scaling_factor);
  visit("optimizer", "name", c.optimizer.name);
  visit("optimizer", "lr", c.optimizer.lr);
  visit("optimizer", "text_encoder_lr", c.optimizer.text_encoder_lr);
  visit("optimizer", "weight_decay", c.optimizer.weight_decay);
  visit("optimizer", "no_decay", c.optimizer.no_decay);
  visit("optimizer", "freeze", c.optimizer.freeze);
  visit("optimizer", "lr_scale", c.optimizer.lr_scale);
  visit("optimizer", "betas", c.optimizer.betas);
  visit("optimizer", "eps", c.optimizer.eps);
  visit("optimizer", "grad_clip", c.optimizer.grad_clip);
  visit("optimizer", "schedule", c.optimizer.schedule);
  visit("optimizer", "warmup_steps", c.optimizer.warmup_steps);
  visit("optimizer", "schedule_cycles", c.optimizer.schedule_cycles);
  visit("optimizer", "schedule_power", c.optimizer.schedule_power);
  visit("optimizer", "end_lr", c.optimizer.end_lr);
  visit("optimizer", "shard", c.optimizer.shard);
  visit("ema", "decay", c.ema.decay);
  visit("communication", "wire", c.communication.wire);
  visit("communication", "bucket_mb", c.communication.bucket_mb);
  visit("communication", "overlap", c.communication.overlap);
  visit("communication", "timeout_seconds", c.communication.timeout_seconds);
  visit("checkpoint", "every_steps", c.checkpoint.every_steps);
  visit("checkpoint", "every_minutes", c.checkpoint.every_minutes);
  visit("checkpoint", "keep", c.checkpoint.keep);
  visit("checkpoint", "keep_every_steps", c.checkpoint.keep_every_steps);
  visit("checkpoint", "background", c.checkpoint.background);
  visit("checkpoint", "weights_dtype", c.checkpoint.weights_dtype);
  visit("sample", "every_steps", c.sample.every_steps);
  visit("sample", "prompts", c.sample.prompts);
  visit("sample", "negative", c.sample.negative);
  visit("sample", "steps", c.sample.steps);
  visit("sample", "cfg", c.sample.cfg);
  visit("sample", "solver", c.sample.solver);
  visit("sample", "size", c.sample.size);
  visit("validation", "fraction", c.validation.fraction);
  visit("validation", "every_steps", c.validation.every_steps);
  visit("metrics", "address", c.metrics.address);
  visit("metrics", "port", c.metrics.port);
  visit("metrics", "file_sd", c.metrics.file_sd);
  visit("audit", "batches", c.audit.batches);
}

}  // namespace kessoku::runtime
