#include "model/networks/narrow_attention.h"

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/functions/utils.h>

#include "model/kernels/attention_kernel.h"
#include "model/kernels/autograd_node.h"
#include "model/networks/flop_counter.h"

namespace kessoku::model {

namespace {

/// What the heads of all images of a batch have in common.
struct Heads {
  int64_t batch, heads;
  HeadShape shape;

  Heads(const at::Tensor& query, const at::Tensor& key, int64_t heads)
      : batch(query.size(0)),
        heads(heads),
        shape{query.size(1), key.size(1), query.size(2) / heads} {}

  int64_t channels() const { return heads * shape.width; }
  /// Of one matrix product.
  int64_t flops() const { return 2 * batch * channels() * shape.queries * shape.keys; }
  /// Does `work` for each image and head. Each is one thread's, so that no sum depends on their
  /// number.
  template <typename Work>
  void for_each(const Work& work) const {
    at::parallel_for(0, batch * heads, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) work(i / heads, i % heads);
    });
  }
  HeadInput input(const at::Tensor& tensor, int64_t image, int64_t head) const {
    return {
        tensor.const_data_ptr<float>() + image * tensor.size(1) * channels() + head * shape.width,
        channels()};
  }
  HeadOutput output(at::Tensor& tensor, int64_t image, int64_t head) const {
    return {tensor.data_ptr<float>() + image * tensor.size(1) * channels() + head * shape.width,
            channels()};
  }
  const float* log_sums(const at::Tensor& tensor, int64_t image, int64_t head) const {
    return tensor.const_data_ptr<float>() + (image * heads + head) * shape.queries;
  }
};

class NarrowAttentionBackward : public torch::autograd::Node {
 public:
  NarrowAttentionBackward(const std::vector<at::Tensor>& inputs, int64_t heads, at::Tensor log_sums)
      : Node(torch::autograd::collect_next_edges(inputs)),
        heads_(heads),
        log_sums_(std::move(log_sums)) {
    for (const at::Tensor& input : inputs) inputs_.emplace_back(input, /*is_output=*/false);
  }
  void save(const at::Tensor& out) { out_ = torch::autograd::SavedVariable(out, true); }

  torch::autograd::variable_list apply(torch::autograd::variable_list&& gradients) override {
    const at::NoGradGuard no_grad;
    const at::Tensor query = inputs_[0].unpack(), key = inputs_[1].unpack(),
                     value = inputs_[2].unpack(), out = out_.unpack(owner_of(this));
    const at::Tensor gradient = gradients[0].contiguous();
    const Heads all(query, key, heads_);
    FlopCounter::add(5 * all.flops());
    at::Tensor of_query = at::empty_like(query), of_key = at::empty_like(key),
               of_value = at::empty_like(value);
    all.for_each([&](int64_t image, int64_t head) {
      attend_backward(all.shape, all.input(query, image, head), all.input(key, image, head),
                      all.input(value, image, head), all.input(out, image, head),
                      all.log_sums(log_sums_, image, head), all.input(gradient, image, head),
                      all.output(of_query, image, head), all.output(of_key, image, head),
                      all.output(of_value, image, head));
    });
    return {of_query, of_key, of_value};
  }

  void release_variables() override {
    inputs_.clear();
    out_.reset_data();
    log_sums_.reset();
  }

 private:
  int64_t heads_;
  std::vector<torch::autograd::SavedVariable> inputs_;
  torch::autograd::SavedVariable out_;
  at::Tensor log_sums_;  ///< (B, heads, Tq)
};

at::Tensor attend_in_floats(const std::vector<at::Tensor>& inputs, int64_t heads) {
  const Heads all(inputs[0], inputs[1], heads);
  const bool recorded = torch::autograd::compute_requires_grad(inputs[0], inputs[1], inputs[2]);
  at::Tensor out = at::empty(inputs[0].sizes(), inputs[0].options().requires_grad(false));
  at::Tensor log_sums = at::empty({all.batch, heads, all.shape.queries}, out.options());
  FlopCounter::add(2 * all.flops());
  all.for_each([&](int64_t image, int64_t head) {
    attend(all.shape, all.input(inputs[0], image, head), all.input(inputs[1], image, head),
           all.input(inputs[2], image, head), all.output(out, image, head),
           const_cast<float*>(all.log_sums(log_sums, image, head)));
  });
  if (!recorded) return out;
  const auto node = make_node<NarrowAttentionBackward>(inputs, heads, log_sums);
  torch::autograd::set_history(out, node);
  node->save(out);
  return out;
}

}  // namespace

bool suits_narrow_attention(const at::Tensor& query, int64_t heads) {
  const int64_t width = query.size(2) / heads;
  return query.is_cpu() && (width == 8 || (width == 16 && query.scalar_type() == at::kBFloat16));
}

at::Tensor narrow_attention(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                            int64_t heads) {
  std::vector<at::Tensor> inputs;
  for (const at::Tensor& input : {query, key, value})
    inputs.push_back(input.to(at::kFloat).contiguous());
  return attend_in_floats(inputs, heads).to(query.scalar_type());
}

}  // namespace kessoku::model
