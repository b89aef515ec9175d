#include "model/networks/checkpointing.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/alias.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/functions/utils.h>

#include "model/kernels/autograd_node.h"
#include "model/networks/flop_counter.h"

namespace kessoku::model {

namespace {

bool requires_grad(const at::Tensor& tensor) { return tensor.requires_grad(); }

/// The backward of a block that was run without being recorded.
class Recompute : public torch::autograd::Node {
 public:
  Recompute(Block block, const Tensors& inputs)
      : Node(torch::autograd::collect_next_edges(inputs)), block_(std::move(block)) {
    for (const at::Tensor& input : inputs) inputs_.emplace_back(input, /*is_output=*/false);
  }

  /// The block's parameters receive their gradients where every leaf does, in the inner backward:
  /// hooks and gradients that are views see no difference.
  torch::autograd::variable_list apply(torch::autograd::variable_list&& gradients) override {
    Tensors inputs;
    for (const torch::autograd::SavedVariable& saved : inputs_) {
      const at::Tensor input = saved.unpack();
      inputs.push_back(input.detach().set_requires_grad(input.requires_grad()));
    }
    {
      const at::AutoGradMode record(true);
      const at::Tensor output = compute(inputs);
      torch::autograd::backward({output}, {std::move(gradients[0])});
    }
    torch::autograd::variable_list result;
    for (const at::Tensor& input : inputs) result.push_back(input.grad());
    return result;
  }

  void release_variables() override { inputs_.clear(); }

 private:
  at::Tensor compute(const Tensors& inputs) const {
    const FlopCounter::Pause counted_in_forward;
    return block_(inputs);
  }

  Block block_;
  std::vector<torch::autograd::SavedVariable> inputs_;
};

}  // namespace

at::Tensor run_block(bool recompute, const Tensors& inputs, const Block& block) {
  if (!at::GradMode::is_enabled() || std::ranges::none_of(inputs, requires_grad)) {
    return block(inputs);
  }
  if (!recompute) {
    // An input's gradient is then summed up within the block before it leaves it, as when the block
    // is run again. Float sums depend on their order: without this the two would not be bit-equal.
    Tensors aliases;
    for (const at::Tensor& input : inputs) aliases.push_back(at::alias(input));
    return block(aliases);
  }
  const auto node = make_node<Recompute>(block, inputs);
  at::Tensor output;
  {
    const at::NoGradGuard unrecorded;
    output = block(inputs);
  }
  torch::autograd::set_history(output, node);
  return output;
}

}  // namespace kessoku::model
