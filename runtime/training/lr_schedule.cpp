#include "runtime/training/lr_schedule.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numbers>

namespace kessoku::runtime {

namespace {

/// From 1 at 0 to 0 at 1.
double half_cosine(double progress) { return 0.5 * (1 + std::cos(std::numbers::pi * progress)); }

double constant(const RunConfig::Optimizer& /*config*/, double /*progress*/) { return 1; }

double linear(const RunConfig::Optimizer& /*config*/, double progress) { return 1 - progress; }

double cosine(const RunConfig::Optimizer& /*config*/, double progress) {
  return half_cosine(progress);
}

double cosine_with_restarts(const RunConfig::Optimizer& config, double progress) {
  const double turns = static_cast<double>(config.schedule_cycles) * progress;
  return progress == 1 ? 0 : half_cosine(turns - std::floor(turns));
}

double polynomial(const RunConfig::Optimizer& config, double progress) {
  const double end = config.end_lr / config.lr;
  return end + (1 - end) * std::pow(1 - progress, config.schedule_power);
}

/// optimizer.schedule → factor at a progress of 0 … 1 after the warm-up.
const std::map<std::string, double (*)(const RunConfig::Optimizer&, double)> kSchedules{
    {"constant", constant},
    {"linear", linear},
    {"cosine", cosine},
    {"cosine_with_restarts", cosine_with_restarts},
    {"polynomial", polynomial}};

}  // namespace

std::vector<std::string> lr_schedule_names() {
  std::vector<std::string> names;
  for (const auto& [name, factor] : kSchedules) names.push_back(name);
  return names;
}

double lr_factor(const RunConfig::Optimizer& config, uint64_t step, uint64_t total) {
  if (step < config.warmup_steps) {
    return static_cast<double>(step) / static_cast<double>(config.warmup_steps);
  }
  if (total <= config.warmup_steps) return 1;
  const double progress = std::min(1.0, static_cast<double>(step - config.warmup_steps) /
                                            static_cast<double>(total - config.warmup_steps));
  return kSchedules.at(config.schedule)(config, progress);
}

}  // namespace kessoku::runtime
