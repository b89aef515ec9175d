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
  static const bool has = [] {
    for (const char* name : {"mkldnn::_convolution_pointwise", "mkldnn::_linear_pointwise"}) {
      if (!c10::Dispatcher::singleton().findSchema({name, ""})) return false;
    }
    return true;
  }();
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

void PackedWeight::keep(at::Tensor packed) {
  packed_ = std::move(packed);
  weight_.set_data(at::empty({0}, weight_.options()));
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
  std::call_once(once_,
                 [&] { keep(reorder.call(weight_, paddings, strides, dilations, 1, x.sizes())); });
  return convolution.call(x, packed_, bias, paddings, strides, dilations, 1, "none", Scalars(), "");
}

at::Tensor PackedWeight::multiply(const at::Tensor& x, const at::Tensor& bias) {
  static const auto reorder = operator_named<at::Tensor(const at::Tensor&, std::optional<int64_t>)>(
      "mkldnn::_reorder_linear_weight");
  static const auto linear =
      operator_named<at::Tensor(const at::Tensor&, const at::Tensor&, const OptionalTensor&,
                                std::string_view, Scalars, OptionalName)>(
          "mkldnn::_linear_pointwise");
  std::call_once(once_, [&] { keep(reorder.call(weight_.flatten(1), x.numel() / x.size(-1))); });
  const OptionalTensor addend = bias.defined() ? OptionalTensor(bias) : std::nullopt;
  return linear.call(x, packed_, addend, "none", Scalars(), "");
}

}  // namespace kessoku::model
