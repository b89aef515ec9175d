#include "runtime/training/optimizer.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>

namespace kessoku::runtime {

Optimizer::Optimizer(FlatParameters& flat, const RunConfig::Optimizer& config,
                     std::vector<Range> owned, bool keep_copy)
    : flat_(flat), config_(config), rule_(make_update_rule(config)), owned_(std::move(owned)) {
  int64_t offset = 0;
  for (const Range& range : owned_) {
    own_offsets_.push_back(offset);
    segments_.push_back(segments_of(range));
    offset += range.size();
  }
  const auto options = flat.values().options().dtype(at::kFloat);
  for (const std::string& name : rule_->moments())
    moments_.push_back({name, at::zeros({offset}, options)});
  if (keep_copy) {
    master_ = at::empty({offset}, options);
    for (size_t i = 0; i < owned_.size(); ++i) weights(i).copy_(values_of(owned_[i]));
  }
}

std::vector<Optimizer::Segment> Optimizer::segments_of(const Range& range) const {
  // Padding between parameters belongs to the one before it: its gradient is 0, so it stays 0.
  std::vector<Segment> segments;
  const std::vector<FlatRange>& parameters = flat_.ranges();
  for (size_t i = 0; i < parameters.size(); ++i) {
    const int64_t begin = std::max(range.begin, parameters[i].offset);
    const int64_t end = std::min(
        range.end, i + 1 < parameters.size() ? parameters[i + 1].offset : flat_.values().numel());
    if (begin >= end) continue;
    const ParameterSettings settings = settings_of(config_, parameters[i].name);
    Segment* last = segments.empty() ? nullptr : &segments.back();
    if (last != nullptr && last->settings == settings) {
      last->range.end = end;
    } else {
      segments.push_back({{begin, end}, settings});
    }
  }
  return segments;
}

void Optimizer::step(size_t index, double factor) {
  const at::NoGradGuard no_grad;
  const Range& range = owned_[index];
  const Range own = own_range(index);
  std::vector<at::Tensor> moments;
  for (const model::Parameter& moment : moments_)
    moments.push_back(moment.tensor.narrow(0, own.begin, own.size()));
  const at::Tensor range_weights = weights(index);
  apply(segments_[index], range, range_weights, flat_.gradients_in(range), moments, factor);
  if (master_.defined()) values_of(range).copy_(range_weights);
}

void Optimizer::repeat_step(const Range& range, const at::Tensor& weights,
                            const at::Tensor& gradients, const std::vector<at::Tensor>& moments,
                            double factor) const {
  const at::NoGradGuard no_grad;
  apply(segments_of(range), range, weights, gradients, moments, factor);
}

void Optimizer::apply(const std::vector<Segment>& segments, const Range& range,
                      const at::Tensor& weights, const at::Tensor& gradients,
                      const std::vector<at::Tensor>& moments, double factor) const {
  const at::Tensor this_step = at::full({}, static_cast<double>(steps_taken_), gradients.options());
  for (const Segment& segment : segments) {
    const int64_t begin = segment.range.begin - range.begin, numel = segment.range.size();
    std::vector<at::Tensor> parts;
    for (const at::Tensor& moment : moments) parts.push_back(moment.narrow(0, begin, numel));
    rule_->apply(weights.narrow(0, begin, numel), gradients.narrow(0, begin, numel), parts,
                 this_step, segment.settings.lr * factor, segment.settings.weight_decay);
  }
}

Range Optimizer::own_range(size_t index) const {
  return {own_offsets_[index], own_offsets_[index] + owned_[index].size()};
}

at::Tensor Optimizer::weights(size_t index) const {
  const Range own = own_range(index);
  return master_.defined() ? master_.narrow(0, own.begin, own.size()) : values_of(owned_[index]);
}

at::Tensor Optimizer::own_weights() const {
  if (master_.defined()) return master_.clone();
  std::vector<at::Tensor> parts;
  for (size_t i = 0; i < owned_.size(); ++i) parts.push_back(weights(i));
  return at::cat(parts);
}

at::Tensor Optimizer::values_of(const Range& range) const {
  return flat_.values().narrow(0, range.begin, range.size());
}

}  // namespace kessoku::runtime
