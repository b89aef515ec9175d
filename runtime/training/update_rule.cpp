#include "runtime/training/update_rule.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/_fused_adamw.h>

#include <map>

#include "base/error.h"

namespace kessoku::runtime {

namespace {

/// Loshchilov & Hutter, 2019; as torch.optim.AdamW.
class AdamW : public UpdateRule {
 public:
  explicit AdamW(const RunConfig::Optimizer& config) : config_(config) {}

  std::vector<std::string> moments() const override { return {"exp_avg", "exp_avg_sq"}; }

  void apply(const at::Tensor& weights, const at::Tensor& gradients,
             const std::vector<at::Tensor>& moments, const at::Tensor& step, double lr,
             double weight_decay) const override {
    at::_fused_adamw_({weights}, {gradients}, {moments[0]}, {moments[1]}, /*max_exp_avg_sqs=*/{},
                      {step}, lr, config_.betas[0], config_.betas[1], weight_decay, config_.eps,
                      /*amsgrad=*/false, /*maximize=*/false);
  }

 private:
  RunConfig::Optimizer config_;
};

/// Chen et al., 2023: steps of lr in the direction of the sign of an average of gradients.
class Lion : public UpdateRule {
 public:
  explicit Lion(const RunConfig::Optimizer& config) : config_(config) {}

  std::vector<std::string> moments() const override { return {"exp_avg"}; }

  void apply(const at::Tensor& weights, const at::Tensor& gradients,
             const std::vector<at::Tensor>& moments, const at::Tensor& /*step*/, double lr,
             double weight_decay) const override {
    const double own = config_.betas[0], kept = config_.betas[1];
    const at::Tensor direction = moments[0].mul(own).add_(gradients, 1 - own).sign_();
    weights.mul_(1 - lr * weight_decay).add_(direction, -lr);
    moments[0].mul_(kept).add_(gradients, 1 - kept);
  }

 private:
  RunConfig::Optimizer config_;
};

template <typename Rule>
std::unique_ptr<UpdateRule> make(const RunConfig::Optimizer& config) {
  return std::make_unique<Rule>(config);
}

/// optimizer.name → rule.
const std::map<std::string, std::unique_ptr<UpdateRule> (*)(const RunConfig::Optimizer&)> kRules{
    {"adamw", make<AdamW>}, {"lion", make<Lion>}};

}  // namespace

std::vector<std::string> update_rule_names() {
  std::vector<std::string> names;
  for (const auto& [name, rule] : kRules) names.push_back(name);
  return names;
}

std::unique_ptr<UpdateRule> make_update_rule(const RunConfig::Optimizer& config) {
  const auto rule = kRules.find(config.name);
  if (rule == kRules.end())
    throw UsageError(fmt::format("optimizer.name: there is no \"{}\"", config.name));
  return rule->second(config);
}

}  // namespace kessoku::runtime
