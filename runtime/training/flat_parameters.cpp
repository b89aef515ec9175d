#include "runtime/training/flat_parameters.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/zeros.h>
#include <malloc.h>

namespace kessoku::runtime {

std::vector<FlatRange> flat_layout(const model::Parameters& parameters) {
  std::vector<FlatRange> layout;
  int64_t offset = 0;
  for (const model::Parameter& parameter : parameters) {
    layout.push_back({parameter.name, offset, parameter.tensor.numel()});
    constexpr int64_t kMultiple = FlatRange::kAlignment;
    offset += (parameter.tensor.numel() + kMultiple - 1) / kMultiple * kMultiple;
  }
  return layout;
}

int64_t flat_numel(const std::vector<FlatRange>& layout) {
  constexpr int64_t kMultiple = FlatRange::kAlignment;
  if (layout.empty()) return 0;
  return layout.back().offset + (layout.back().numel + kMultiple - 1) / kMultiple * kMultiple;
}

FlatParameters::FlatParameters(const model::Parameters& parameters, int64_t padded_numel)
    : parameters_(parameters), ranges_(flat_layout(parameters)) {
  const auto options = parameters_.front().tensor.options().requires_grad(false);
  values_ = at::zeros({padded_numel}, options);
  gradients_ = at::zeros({padded_numel}, options.dtype(at::kFloat));
  const at::NoGradGuard no_grad;
  const model::Parameters values = views_of(values_);
  gradient_views_ = views_of(gradients_);
  for (size_t i = 0; i < parameters_.size(); ++i) {
    at::Tensor& tensor = parameters_[i].tensor;
    values[i].tensor.copy_(tensor);
    tensor.set_data(values[i].tensor);  // frees the old storage: never all weights twice
    tensor.requires_grad_(true);
    tensor.mutable_grad() = gradient_views_[i].tensor;
  }
  ::malloc_trim(0);  // the C library keeps freed pieces of a heap: here, all weights
}

void FlatParameters::round_to(at::ScalarType dtype) {
  if (values_.scalar_type() == dtype) return;
  const at::NoGradGuard no_grad;
  values_ = values_.to(dtype);
  const model::Parameters values = views_of(values_);
  for (size_t i = 0; i < parameters_.size(); ++i) {
    parameters_[i].tensor.mutable_grad().reset();
    parameters_[i].tensor.set_data(values[i].tensor);
  }
}

void FlatParameters::collect_gradient(size_t index) {
  if (values_.scalar_type() == at::kFloat) return;
  const at::NoGradGuard no_grad;
  at::Tensor& gradient = parameters_[index].tensor.mutable_grad();
  if (!gradient.defined()) return;
  at::Tensor(gradient_views_[index].tensor).add_(gradient);
  gradient.reset();
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
