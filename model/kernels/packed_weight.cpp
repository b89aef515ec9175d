#include "model/kernels/packed_weight.h"

#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/empty.h>

#include <array>
#include <string_view>
#include <utility>

namespace kessoku::model {

namespace {

using OptionalTensor = std::optional<at::Tensor>;
using Scalars = c10::List<std::optional<at::Scalar>>;
using OptionalName = std::optional<std::string_view>;

/// LibTorch's own operators on oneDNN's order, for its compiler: they have no C++ names.
template <typename Signature>
c10::TypedOperatorHandle<Signature> operator_named(const char* name) {
  return c10::Dispatcher::singleton().findSchemaOrThrow(name, "").typed<Signature>();
}

bool has_operators() {
  static const bool has =
      c10::Dispatcher::singleton().findSchema({"mkldnn::_convolution_pointwise", ""}).has_value();
  return has;
}

/// As LibTorch itself asks before it lets oneDNN compute in bf16.
bool has_bf16() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512dq");
#else
  return false;
#endif
}

}  // namespace

PackedWeight::PackedWeight(at::Tensor weight, std::shared_ptr<const bool> frozen)
    : weight_(std::move(weight)), frozen_(std::move(frozen)) {}

bool PackedWeight::replaces_plain(const at::Tensor& x) const {
  if (!*frozen_ || !x.is_cpu() || !has_operators()) return false;
  return x.scalar_type() == at::kFloat || (x.scalar_type() == at::kBFloat16 && has_bf16());
}

at::Tensor PackedWeight::convolve(const at::Tensor& x, const at::Tensor& bias, int64_t stride,
                                  int64_t padding) {
  static const auto reorder =
      operator_named<at::Tensor(const at::Tensor&, at::IntArrayRef, at::IntArrayRef,
                                at::IntArrayRef, int64_t, at::OptionalIntArrayRef)>(
          "mkldnn::_reorder_convolution_weight");
  static const auto convolution = operator_named<at::Tensor(
      const at::Tensor&, const at::Tensor&, const OptionalTensor&, at::IntArrayRef, at::IntArrayRef,
      at::IntArrayRef, int64_t, std::string_view, Scalars, OptionalName)>(
      "mkldnn::_convolution_pointwise");
  const std::array<int64_t, 2> strides{stride, stride}, paddings{padding, padding}, dilations{1, 1};
  std::call_once(once_, [&] {
    packed_ = reorder.call(weight_, paddings, strides, dilations, 1, x.sizes());
    weight_.set_data(at::empty({0}, weight_.options()));
  });
  return convolution.call(x, packed_, bias, paddings, strides, dilations, 1, "none", Scalars(), "");
}

}  // namespace kessoku::model
