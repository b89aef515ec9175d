#include "runtime/optimizer.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <fnmatch.h>

#include <cmath>
#include <numbers>

namespace kessoku::runtime {

namespace {

double peak_lr(const RunConfig::Optimizer& config, const std::string& name) {
  const bool text = name.starts_with("text_encoder.");
  return text && config.text_encoder_lr >= 0 ? config.text_encoder_lr : config.lr;
}

bool decays(const RunConfig::Optimizer& config, const std::string& name) {
  return std::none_of(
      config.no_decay.begin(), config.no_decay.end(),
      [&](const std::string& pattern) { return ::fnmatch(pattern.c_str(), name.c_str(), 0) == 0; });
}

}  // namespace

double schedule_factor(const RunConfig::Optimizer& config, uint64_t step, uint64_t total) {
  if (step < config.warmup_steps)
    return static_cast<double>(step + 1) / static_cast<double>(config.warmup_steps);
  if (config.schedule == "constant" || total <= config.warmup_steps) return 1;
  const double progress = static_cast<double>(step - config.warmup_steps) /
                          static_cast<double>(total - config.warmup_steps);
  if (config.schedule == "linear") return std::max(0.0, 1 - progress);
  return 0.5 * (1 + std::cos(std::numbers::pi * std::min(1.0, progress)));
}

AdamW::AdamW(const FlatParameters& flat, const RunConfig::Optimizer& config, int64_t begin,
             int64_t end)
    : flat_(flat), config_(config), begin_(begin), end_(end) {
  // Padding between parameters belongs to the one before it: its gradient is 0, so it stays 0.
  const std::vector<FlatRange>& ranges = flat.ranges();
  for (size_t i = 0; i < ranges.size(); ++i) {
    const int64_t from = std::max(begin, ranges[i].offset);
    const int64_t to =
        std::min(end, i + 1 < ranges.size() ? ranges[i + 1].offset : flat.values().numel());
    if (from >= to) continue;
    const double lr = peak_lr(config, ranges[i].name);
    const double weight_decay = decays(config, ranges[i].name) ? config.weight_decay : 0;
    OptimizerSegment* last = segments_.empty() ? nullptr : &segments_.back();
    if (last != nullptr && last->lr == lr && last->weight_decay == weight_decay) {
      last->end = to;
    } else {
      segments_.push_back({from, to, lr, weight_decay});
    }
  }
  exp_avg_ = at::zeros({end - begin}, flat.values().options());
  exp_avg_sq_ = at::zeros({end - begin}, flat.values().options());
}

void AdamW::step(double factor) {
  const at::NoGradGuard no_grad;
  const at::Tensor steps =
      at::full({}, static_cast<double>(++steps_taken_), flat_.values().options());
  for (const OptimizerSegment& segment : segments_) {
    const int64_t numel = segment.end - segment.begin;
    const auto own = [&](const at::Tensor& tensor) {
      return tensor.narrow(0, segment.begin - begin_, numel);
    };
    const auto of_flat = [&](const at::Tensor& tensor) {
      return tensor.narrow(0, segment.begin, numel);
    };
    at::_fused_adamw_({of_flat(flat_.values())}, {of_flat(flat_.gradients())}, {own(exp_avg_)},
                      {own(exp_avg_sq_)},
                      /*max_exp_avg_sqs=*/{}, {steps}, segment.lr * factor, config_.betas[0],
                      config_.betas[1], segment.weight_decay, config_.eps, /*amsgrad=*/false,
                      /*maximize=*/false);
  }
}

}  // namespace kessoku::runtime
