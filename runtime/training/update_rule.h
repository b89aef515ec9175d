#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>
#include <vector>

#include "runtime/config/config.h"

namespace kessoku::runtime {

/// What a step does to weights, element by element.
class UpdateRule {
 public:
  virtual ~UpdateRule() = default;
  /// Names of its moments, f32, as many elements each as there are weights, 0 at first.
  virtual std::vector<std::string> moments() const = 0;
  /// In place; all (numel) f32, but `step`, () f32: the number of this step, from 1.
  virtual void apply(const at::Tensor& weights, const at::Tensor& gradients,
                     const std::vector<at::Tensor>& moments, const at::Tensor& step, double lr,
                     double weight_decay) const = 0;
};

/// The rules that there are, in alphabetical order; a test holds them against the words that
/// optimizer.name takes.
std::vector<std::string> update_rule_names();

/// Throws UsageError for a name that there is not.
std::unique_ptr<UpdateRule> make_update_rule(const RunConfig::Optimizer& config);

}  // namespace kessoku::runtime
