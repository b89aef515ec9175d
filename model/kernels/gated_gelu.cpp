#include "model/kernels/gated_gelu.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/gelu.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/functions/utils.h>

#include "model/kernels/autograd_node.h"
#include "model/kernels/geglu_kernel.h"

namespace kessoku::model {

namespace {

constexpr int64_t kGrain = 16384;  ///< values a thread takes at least

/// Calls `work` with each token and the type of the numbers.
template <typename Work>
void for_each_token(const at::Tensor& x, const Work& work) {
  const int64_t width = x.size(-1) / 2, tokens = x.numel() / (2 * width);
  const auto run = [&](auto number) {
    at::parallel_for(0, tokens, kGrain / width + 1, [&](int64_t begin, int64_t end) {
      for (int64_t token = begin; token < end; ++token) work(number, token, width);
    });
  };
  if (x.scalar_type() == at::kFloat) {
    run(float{});
  } else {
    run(c10::BFloat16{});
  }
}

class GatedGeluBackward : public torch::autograd::Node {
 public:
  explicit GatedGeluBackward(const at::Tensor& x)
      : Node(torch::autograd::collect_next_edges(x)), x_(x, /*is_output=*/false) {}

  torch::autograd::variable_list apply(torch::autograd::variable_list&& gradients) override {
    const at::NoGradGuard no_grad;
    const at::Tensor x = x_.unpack(), gradient = gradients[0].contiguous();
    at::Tensor of_x = at::empty_like(x);
    for_each_token(x, [&](auto number, int64_t token, int64_t width) {
      using T = decltype(number);
      geglu_backward(x.const_data_ptr<T>() + 2 * width * token,
                     gradient.const_data_ptr<T>() + width * token, width,
                     of_x.data_ptr<T>() + 2 * width * token);
    });
    return {of_x};
  }

  void release_variables() override { x_.reset_data(); }

 private:
  torch::autograd::SavedVariable x_;
};

}  // namespace

at::Tensor gated_gelu(const at::Tensor& input) {
  const at::ScalarType type = input.scalar_type();
  if (!input.is_cpu() || (type != at::kFloat && type != at::kBFloat16)) {
    const std::vector<at::Tensor> halves = input.chunk(2, -1);
    return halves[0] * at::gelu(halves[1]);
  }
  const at::Tensor x = input.contiguous();
  std::vector<int64_t> shape = x.sizes().vec();
  shape.back() /= 2;
  at::Tensor out = at::empty(shape, x.options().requires_grad(false));
  for_each_token(x, [&](auto number, int64_t token, int64_t width) {
    using T = decltype(number);
    geglu(x.const_data_ptr<T>() + 2 * width * token, width, out.data_ptr<T>() + width * token);
  });
  if (torch::autograd::compute_requires_grad(x))
    torch::autograd::set_history(out, make_node<GatedGeluBackward>(x));
  return out;
}

}  // namespace kessoku::model
