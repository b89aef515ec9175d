// LibTorch has the meta kernels of these operators in Python alone. As the others do, they refuse a
// tensor of another device.
#include <ATen/ExpandUtils.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <c10/util/Exception.h>
#include <torch/library.h>

#include <array>
#include <tuple>

namespace {

using at::Tensor;
using OptionalTensor = std::optional<Tensor>;
using ThreeTensors = std::tuple<Tensor, Tensor, Tensor>;

void require_meta(std::initializer_list<OptionalTensor> tensors) {
  for (const OptionalTensor& tensor : tensors) {
    TORCH_CHECK(!tensor || !tensor->defined() || tensor->is_meta(), "a tensor is on ",
                tensor->device());
  }
}

Tensor convolution(const Tensor& x, const Tensor& weight, const OptionalTensor& bias,
                   at::IntArrayRef stride, at::IntArrayRef padding, at::IntArrayRef, bool,
                   at::IntArrayRef, int64_t) {
  require_meta({x, weight, bias});
  const auto side = [&](int64_t dim) {
    return (x.size(dim) + 2 * padding[0] - weight.size(dim)) / stride[0] + 1;
  };
  return at::empty({x.size(0), weight.size(0), side(2), side(3)}, x.options(),
                   x.suggest_memory_format());
}

ThreeTensors convolution_backward(const Tensor& gradient, const Tensor& x, const Tensor& weight,
                                  at::IntArrayRef, at::IntArrayRef, at::IntArrayRef, bool,
                                  at::IntArrayRef, int64_t, std::array<bool, 3>) {
  require_meta({gradient, x, weight});
  return {at::empty_like(x), at::empty_like(weight), at::empty({weight.size(0)}, x.options())};
}

ThreeTensors group_norm(const Tensor& x, const OptionalTensor& weight, const OptionalTensor& bias,
                        int64_t batch, int64_t, int64_t, int64_t groups, double) {
  require_meta({x, weight, bias});
  const Tensor statistic = at::empty({batch, groups}, x.options());
  return {at::empty_like(x), statistic, statistic};
}

ThreeTensors group_norm_backward(const Tensor& gradient, const Tensor& x, const Tensor& mean,
                                 const Tensor& rstd, const OptionalTensor& weight, int64_t, int64_t,
                                 int64_t, int64_t, std::array<bool, 3>) {
  require_meta({gradient, x, mean, rstd, weight});
  return {at::empty_like(x), at::empty_like(*weight), at::empty_like(*weight)};
}

ThreeTensors layer_norm(const Tensor& x, at::IntArrayRef, const OptionalTensor& weight,
                        const OptionalTensor& bias, double) {
  require_meta({x, weight, bias});
  const Tensor statistic = at::empty({x.size(0), x.size(1), 1}, x.options());
  return {at::empty_like(x), statistic, statistic};
}

ThreeTensors layer_norm_backward(const Tensor& gradient, const Tensor& x, at::IntArrayRef,
                                 const Tensor& mean, const Tensor& rstd,
                                 const OptionalTensor& weight, const OptionalTensor& bias,
                                 std::array<bool, 3>) {
  require_meta({gradient, x, mean, rstd, weight, bias});
  return {at::empty_like(x), at::empty_like(*weight), at::empty_like(*bias)};
}

Tensor safe_softmax(const Tensor& x, int64_t, std::optional<at::ScalarType>) {
  return at::empty_like(x);
}

Tensor where(const Tensor& condition, const Tensor& a, const Tensor& b) {  // a causal mask
  require_meta({condition, a, b});
  return at::empty(at::infer_size(condition.sizes(), at::infer_size(a.sizes(), b.sizes())),
                   a.options());
}

Tensor& logical_and(const Tensor& a, const Tensor& b, Tensor& out) {  // the backward of clamp
  require_meta({a, b, out});
  out.resize_(at::infer_size(a.sizes(), b.sizes()));
  return out;
}

Tensor index_select(const Tensor& x, int64_t, const Tensor& index) {  // an embedding
  require_meta({x, index});
  return at::empty({index.size(0), x.size(1)}, x.options());
}

Tensor embedding_backward(const Tensor& gradient, const Tensor& indices, int64_t count, int64_t,
                          bool) {
  require_meta({gradient, indices});
  return at::empty({count, gradient.size(-1)}, gradient.options());
}

TORCH_LIBRARY_IMPL(aten, Meta, library) {
  library.impl("convolution_overrideable", convolution);
  library.impl("convolution_backward_overrideable", convolution_backward);
  library.impl("native_group_norm", group_norm);
  library.impl("native_group_norm_backward", group_norm_backward);
  library.impl("native_layer_norm", layer_norm);
  library.impl("native_layer_norm_backward", layer_norm_backward);
  library.impl("_safe_softmax", safe_softmax);
  library.impl("where.self", where);
  library.impl("logical_and.out", logical_and);
  library.impl("index_select", index_select);
  library.impl("embedding_dense_backward", embedding_backward);
}

}  // namespace
