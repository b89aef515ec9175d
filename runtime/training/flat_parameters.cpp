#include "runtime/training/flat_parameters.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/zeros.h>
#include <malloc.h>

#include <algorithm>

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

FlatParameters::FlatParameters(const model::Parameters& parameters, int64_t padded_numel,
                               GradientStorage storage)
    : parameters_(parameters), ranges_(flat_layout(parameters)) {
  const auto options = parameters_.front().tensor.options().requires_grad(false);
  values_ = at::zeros({padded_numel}, options);
  const at::NoGradGuard no_grad;
  const model::Parameters values = views_of(values_);
  for (size_t i = 0; i < parameters_.size(); ++i) {
    at::Tensor& tensor = parameters_[i].tensor;
    values[i].tensor.copy_(tensor);
    tensor.set_data(values[i].tensor);  // frees the old storage: a CPU never has all weights twice
    tensor.requires_grad_(true);
    tensor.mutable_grad().reset();
  }
  if (storage == GradientStorage::kBuffer) {
    gradients_ = at::zeros({padded_numel}, options.dtype(at::kFloat));
    gradient_views_ = views_of(gradients_);
    for (size_t i = 0; i < parameters_.size(); ++i)
      parameters_[i].tensor.mutable_grad() = gradient_views_[i].tensor;
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

at::Tensor FlatParameters::gradients_in(const Range& range) const {
  if (gradients_.defined()) return gradients_.narrow(0, range.begin, range.size());
  const at::NoGradGuard no_grad;
  at::Tensor joined = at::zeros({range.size()}, values_.options().dtype(at::kFloat));
  const auto ends_before = [](const FlatRange& place, int64_t begin) {
    return place.offset + place.numel <= begin;
  };
  auto place = std::lower_bound(ranges_.begin(), ranges_.end(), range.begin, ends_before);
  for (; place != ranges_.end() && place->offset < range.end; ++place) {
    const at::Tensor& gradient = parameters_[place - ranges_.begin()].tensor.grad();
    if (!gradient.defined()) continue;
    const int64_t begin = std::max(range.begin, place->offset);
    const int64_t end = std::min(range.end, place->offset + place->numel);
    joined.narrow(0, begin - range.begin, end - begin)
        .add_(gradient.reshape({-1}).narrow(0, begin - place->offset, end - begin));
  }
  return gradient_factor_ == 1 ? joined : joined.mul_(gradient_factor_);
}

void FlatParameters::scale_gradients(const std::vector<Range>& ranges, double factor) {
  if (factor == 1) return;
  if (!gradients_.defined()) {
    gradient_factor_ *= factor;
    return;
  }
  for (const Range& range : ranges) gradients_.narrow(0, range.begin, range.size()).mul_(factor);
}

void FlatParameters::clear_gradients() {
  if (gradients_.defined()) {
    gradients_.zero_();
  } else {
    release_gradients();
  }
}

void FlatParameters::release_gradients() {
  if (gradients_.defined()) return;
  gradient_factor_ = 1;
  for (const model::Parameter& parameter : parameters_)
    at::Tensor(parameter.tensor).mutable_grad().reset();
}

void FlatParameters::collect_gradient(size_t index) {
  if (values_.scalar_type() == at::kFloat || !gradients_.defined()) return;
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
