#include "runtime/training/lr_schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace kessoku::runtime {

namespace {

/// From 1 at 0 to 0 at 1.
double half_cosine(double progress) { return 0.5 * (1 + std::cos(std::numbers::pi * progress)); }

}  // namespace

const std::vector<std::string>& lr_schedule_names() {
  static const std::vector<std::string> names{"constant", "linear", "cosine",
                                              "cosine_with_restarts", "polynomial"};
  return names;
}

double lr_factor(const RunConfig::Optimizer& config, uint64_t step, uint64_t total) {
  if (step < config.warmup_steps) {
    return static_cast<double>(step) / static_cast<double>(config.warmup_steps);
  }
  if (config.schedule == "constant" || total <= config.warmup_steps) return 1;
  const double progress = std::min(1.0, static_cast<double>(step - config.warmup_steps) /
                                            static_cast<double>(total - config.warmup_steps));
  if (config.schedule == "linear") return 1 - progress;
  if (config.schedule == "polynomial") {
    const double end = config.end_lr / config.lr;
    return end + (1 - end) * std::pow(1 - progress, config.schedule_power);
  }
  if (config.schedule == "cosine_with_restarts") {
    const double turns = static_cast<double>(config.schedule_cycles) * progress;
    return progress == 1 ? 0 : half_cosine(turns - std::floor(turns));
  }
  return half_cosine(progress);
}

}  // namespace kessoku::runtime
