#include "model/kernels/sparse_embedding.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/_sparse_coo_tensor_unsafe.h>
#include <ATen/ops/_unique2.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/embedding_dense_backward.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/functions/utils.h>

#include "model/kernels/autograd_node.h"

namespace kessoku::model {

namespace {

class SparseEmbeddingBackward : public torch::autograd::Node {
 public:
  SparseEmbeddingBackward(const at::Tensor& weight, at::Tensor indices)
      : Node(torch::autograd::collect_next_edges(weight)),
        shape_(weight.sizes().vec()),
        indices_(std::move(indices)) {}

  torch::autograd::variable_list apply(torch::autograd::variable_list&& gradients) override {
    const at::NoGradGuard no_grad;
    const auto [rows, places, counts] =
        at::_unique2(indices_, /*sorted=*/true, /*return_inverse=*/true);
    const at::Tensor sums =
        at::embedding_dense_backward(gradients[0], places, rows.numel(), -1, false);
    return {at::_sparse_coo_tensor_unsafe(rows.unsqueeze(0), sums, shape_,
                                          sums.options().layout(at::kSparse),
                                          /*is_coalesced=*/true)};
  }

  void release_variables() override { indices_.reset(); }

 private:
  std::vector<int64_t> shape_;
  at::Tensor indices_;
};

}  // namespace

at::Tensor sparse_embedding(const at::Tensor& weight, const at::Tensor& indices) {
  at::Tensor out;
  {
    const at::NoGradGuard no_grad;
    out = at::embedding(weight, indices);
  }
  if (torch::autograd::compute_requires_grad(weight))
    torch::autograd::set_history(out, make_node<SparseEmbeddingBackward>(weight, indices));
  return out;
}

}  // namespace kessoku::model
