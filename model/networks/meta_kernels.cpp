#include "model/networks/meta_kernels.h"

#include <ATen/ExpandUtils.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <c10/util/Exception.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include <algorithm>
#include <array>
#include <tuple>
#include <vector>

namespace kessoku::model {

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

Tensor& absolute(const Tensor& x, Tensor& out) {  // the autoencoder's error
  require_meta({x, out});
  out.resize_(x.sizes());
  return out;
}

Tensor index_select(const Tensor& x, int64_t dim, const Tensor& index) {
  require_meta({x, index});
  std::vector<int64_t> shape = x.sizes().vec();
  shape[static_cast<size_t>(dim)] = index.size(0);
  return at::empty(shape, x.options());
}

Tensor embedding_backward(const Tensor& gradient, const Tensor& indices, int64_t count, int64_t,
                          bool) {
  require_meta({gradient, indices});
  return at::empty({count, gradient.size(-1)}, gradient.options());
}

/// What does no work through operators is known to observers as the GPU's operator.
class Announced {
 public:
  Announced(const char* name, std::vector<c10::IValue> inputs)
      : inputs_(std::move(inputs)), record_(at::RecordScope::FUNCTION) {
    if (record_.isActive())
      record_.before(name, c10::ArrayRef<const c10::IValue>(inputs_.data(), inputs_.size()));
  }
  void end(std::vector<c10::IValue> outputs) {
    if (record_.isActive()) record_.setOutputs(std::move(outputs));
  }

 private:
  std::vector<c10::IValue> inputs_;
  at::RecordFunction record_;
};

/// Flash attention (Dao, 2024) as it keeps and allocates memory: no scores, and in backward the
/// gradient of the query in f32, once for each of the parts of the keys that are summed in a fixed
/// order, which there are to keep the multiprocessors busy.
class FlashAttention : public torch::autograd::Function<FlashAttention> {
 public:
  static Tensor forward(torch::autograd::AutogradContext* context, const Tensor& query,
                        const Tensor& key, const Tensor& value) {
    require_meta({query, key, value});
    Announced announced("aten::_scaled_dot_product_flash_attention", {query, key, value});
    const int64_t batch = query.size(0), heads = query.size(1), length = query.size(2);
    const Tensor output =
        at::empty({batch, length, heads, value.size(3)}, query.options()).transpose(1, 2);
    const Tensor log_sums = at::empty({batch, heads, length}, query.options().dtype(at::kFloat));
    context->save_for_backward({query, key, value, output, log_sums});
    announced.end({output});
    return output;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 const torch::autograd::variable_list& gradients) {
    constexpr int64_t kMultiprocessors = 128, kQueries = 128, kChannels = 32;
    const auto up_to_multiple = [](int64_t size, int64_t of) { return (size + of - 1) / of * of; };
    const auto saved = context->get_saved_variables();
    const Tensor& query = saved[0];
    require_meta({gradients[0], query});
    Announced announced("aten::_scaled_dot_product_flash_attention_backward",
                        {gradients[0], query, saved[1], saved[2], saved[3]});
    const int64_t images = query.size(0) * query.size(1);
    const Tensor sums = at::empty(
        {std::max(images, up_to_multiple(kMultiprocessors, images)),
         up_to_multiple(query.size(2), kQueries), up_to_multiple(query.size(3), kChannels)},
        query.options().dtype(at::kFloat));
    torch::autograd::variable_list own{at::empty_like(query), at::empty_like(saved[1]),
                                       at::empty_like(saved[2])};
    announced.end({own[0], own[1], own[2]});
    return own;
  }
};

Tensor attention(const Tensor& query, const Tensor& key, const Tensor& value,
                 const OptionalTensor& mask, double, bool, std::optional<double>, bool) {
  TORCH_CHECK(!mask.has_value(), "attention with a mask has no meta kernel");
  return FlashAttention::apply(query, key, value);
}

}  // namespace

void register_meta_kernels() {
  using torch::Library;
  static const std::array libraries = [] {
    std::array made{
        Library(Library::IMPL, "aten", c10::DispatchKey::Meta, __FILE__, __LINE__),
        Library(Library::IMPL, "aten", c10::DispatchKey::AutogradMeta, __FILE__, __LINE__)};
    Library& library = made[0];
    library.impl("convolution_overrideable", convolution);
    library.impl("convolution_backward_overrideable", convolution_backward);
    library.impl("native_group_norm", group_norm);
    library.impl("native_group_norm_backward", group_norm_backward);
    library.impl("native_layer_norm", layer_norm);
    library.impl("native_layer_norm_backward", layer_norm_backward);
    library.impl("where.self", where);
    library.impl("logical_and.out", logical_and);
    library.impl("abs.out", absolute);
    library.impl("index_select", index_select);
    library.impl("embedding_dense_backward", embedding_backward);
    made[1].impl("scaled_dot_product_attention", attention);
    return made;
  }();
}

}  // namespace kessoku::model
