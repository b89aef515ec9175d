#include "runtime/flat_parameters.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

namespace kessoku::runtime {

namespace {

// 64 bytes: the same alignment in every run keeps vectorised kernels bit-equal.
constexpr int64_t kAlignment = 16;

int64_t round_up(int64_t value, int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

}  // namespace

FlatParameters::FlatParameters(const model::Parameters& parameters, int parts)
    : parts_(parts), parameters_(parameters) {
  for (const model::Parameter& parameter : parameters_) {
    ranges_.push_back({parameter.name, used_, parameter.tensor.numel()});
    used_ += round_up(parameter.tensor.numel(), kAlignment);
  }
  const auto options = parameters_.front().tensor.options().requires_grad(false);
  values_ = at::zeros({round_up(used_, kAlignment * parts)}, options);
  gradients_ = at::zeros_like(values_);
  const at::NoGradGuard no_grad;
  const model::Parameters values = views_of(values_);
  const model::Parameters gradients = views_of(gradients_);
  for (size_t i = 0; i < parameters_.size(); ++i) {
    at::Tensor& tensor = parameters_[i].tensor;
    values[i].tensor.copy_(tensor);
    tensor.set_data(values[i].tensor);
    tensor.requires_grad_(true);
    tensor.mutable_grad() = gradients[i].tensor;
  }
}

at::Tensor FlatParameters::values_part(int index) const {
  return values_.narrow(0, index * part_numel(), part_numel());
}

at::Tensor FlatParameters::gradients_part(int index) const {
  return gradients_.narrow(0, index * part_numel(), part_numel());
}

model::Parameters FlatParameters::views_of(const at::Tensor& flat) const {
  model::Parameters views;
  for (size_t i = 0; i < parameters_.size(); ++i) {
    const FlatRange& range = ranges_[i];
    views.push_back(
        {range.name,
         flat.narrow(0, range.offset, range.numel).view(parameters_[i].tensor.sizes())});
  }
  return views;
}

}  // namespace kessoku::runtime
