#include "model/networks/flop_counter.h"

#include <ATen/core/Tensor.h>
#include <ATen/core/ivalue.h>

#include <atomic>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

namespace kessoku::model {

namespace {

using Inputs = c10::ArrayRef<const c10::IValue>;

int64_t numel(const Inputs& inputs, size_t i) { return inputs[i].toTensor().numel(); }
int64_t size(const Inputs& inputs, size_t i, int64_t dim) { return inputs[i].toTensor().size(dim); }

/// One integer for each of `dims` dimensions; a single one is for all.
std::vector<int64_t> integers(const c10::IValue& list, int64_t dims) {
  std::vector<int64_t> values;
  for (const c10::SymInt& value : list.toSymIntVector()) values.push_back(value.expect_int());
  values.resize(static_cast<size_t>(dims), values.front());
  return values;
}

/// Multiply-adds of an element of a convolution's output.
int64_t taps(const Inputs& inputs, size_t weight) {
  return numel(inputs, weight) / size(inputs, weight, 0);
}

int64_t convolution(const Inputs& inputs) {
  // input, weight, bias, stride, padding, dilation, transposed, output padding, groups
  const at::Tensor& input = inputs[0].toTensor();
  const at::Tensor& weight = inputs[1].toTensor();
  const int64_t dims = weight.dim() - 2;
  const std::vector<int64_t> stride = integers(inputs[3], dims),
                             padding = integers(inputs[4], dims),
                             dilation = integers(inputs[5], dims);
  int64_t places = input.size(0) * weight.size(0);
  for (int64_t dim = 0; dim < dims; ++dim) {
    const auto i = static_cast<size_t>(dim);
    const int64_t reach = dilation[i] * (weight.size(dim + 2) - 1) + 1;
    places *= (input.size(dim + 2) + 2 * padding[i] - reach) / stride[i] + 1;
  }
  return 2 * places * taps(inputs, 1);
}

int64_t convolution_backward(const Inputs& inputs) {
  // gradient, input, weight, …, which of the gradients of input, weight and bias are wanted
  const auto wanted = inputs[10].toBoolList();
  return 2 * numel(inputs, 0) * taps(inputs, 2) * (int64_t{wanted[0]} + int64_t{wanted[1]});
}

/// query (B, H, L, E), key (B, H, S, E), value (B, H, S, E) from `first` on: of one product.
int64_t attention_product(const Inputs& inputs, size_t first) {
  return 2 * numel(inputs, first) * size(inputs, first + 1, 2);
}

}  // namespace

std::optional<int64_t> operator_flops(std::string_view name, Inputs inputs) {
  if (name == "aten::mm") return 2 * numel(inputs, 0) * size(inputs, 1, 1);
  if (name == "aten::addmm") return 2 * numel(inputs, 1) * size(inputs, 2, 1);
  if (name == "aten::bmm") return 2 * numel(inputs, 0) * size(inputs, 1, 2);
  if (name == "aten::baddbmm") return 2 * numel(inputs, 1) * size(inputs, 2, 2);
  if (name == "aten::convolution") return convolution(inputs);
  if (name == "aten::convolution_backward") return convolution_backward(inputs);
  if (!name.starts_with("aten::_scaled_dot_product_") || name.ends_with("_math")) return {};
  // Backward makes the scores anew, then four products.
  return name.ends_with("_backward") ? 5 * attention_product(inputs, 1)
                                     : 2 * attention_product(inputs, 0);
}

namespace {

std::atomic<int64_t> counted{0};
thread_local int inside = 0;  ///< operators that are counted as a whole, and pauses

struct Counted : at::ObserverContext {};

std::unique_ptr<at::ObserverContext> begin(const at::RecordFunction& function) {
  if (inside > 0) return nullptr;
  const std::optional<int64_t> more = operator_flops(function.name(), function.inputs());
  if (!more) return nullptr;
  ++inside;
  counted += *more;
  return std::make_unique<Counted>();
}

void end(const at::RecordFunction&, at::ObserverContext* context) {
  if (context != nullptr) --inside;
}

}  // namespace

FlopCounter::FlopCounter()
    : callback_(at::addThreadLocalCallback(at::RecordFunctionCallback(begin, end)
                                               .needsInputs(true)
                                               .scopes({at::RecordScope::FUNCTION}))) {
  counted = 0;
}

FlopCounter::~FlopCounter() { at::removeCallback(callback_); }

int64_t FlopCounter::count() const { return counted; }

void FlopCounter::add(int64_t operations) {
  if (inside == 0) counted += operations;
}

FlopCounter::Pause::Pause() { ++inside; }
FlopCounter::Pause::~Pause() { --inside; }

}  // namespace kessoku::model
