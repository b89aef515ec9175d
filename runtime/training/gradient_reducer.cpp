#include "runtime/training/gradient_reducer.h"

#include <ATen/ops/empty.h>
#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/variable.h>

#include <algorithm>
#include <numeric>

namespace kessoku::runtime {

/// Called by autograd once a backward for each parameter, after its gradient was added up; by
/// activation checkpointing too.
class GradientReducer::Hook : public torch::autograd::PostAccumulateGradHook {
 public:
  Hook(GradientReducer& reducer, size_t parameter) : reducer_(reducer), parameter_(parameter) {}
  void operator()(const torch::autograd::Variable&) override { reducer_.on_gradient(parameter_); }

 private:
  GradientReducer& reducer_;
  size_t parameter_;
};

GradientReducer::GradientReducer(FlatParameters& flat, const Partition& partition,
                                 const ReducerOptions& options, Communicator& communicator)
    : flat_(flat),
      partition_(partition),
      options_(options),
      communicator_(communicator),
      gradients_of_(partition.buckets()),
      order_(partition.buckets()) {
  std::iota(order_.rbegin(), order_.rend(), size_t{0});
  const std::vector<FlatRange>& ranges = flat_.ranges();
  for (size_t i = 0; i < ranges.size(); ++i) {
    std::vector<size_t>& buckets = buckets_of_.emplace_back();
    const int64_t last = ranges[i].offset + ranges[i].numel - 1;
    for (size_t k = partition_.bucket_of(ranges[i].offset); k <= partition_.bucket_of(last); ++k) {
      buckets.push_back(k);
      ++gradients_of_[k];
    }
    torch::autograd::impl::set_post_acc_grad_hooks(flat_.parameters()[i].tensor,
                                                   std::make_unique<Hook>(*this, i));
  }
}

GradientReducer::~GradientReducer() {
  for (const model::Parameter& parameter : flat_.parameters())
    torch::autograd::impl::set_post_acc_grad_hooks(parameter.tensor, nullptr);
}

void GradientReducer::prepare(bool last) {
  armed_ = last && communicator_.size() > 1;
  missing_ = gradients_of_;
  ready_.clear();
  sent_ = 0;
}

void GradientReducer::on_gradient(size_t parameter) {
  flat_.collect_gradient(parameter);
  if (!armed_) return;
  for (size_t bucket : buckets_of_[parameter]) {
    if (--missing_[bucket] == 0) ready_.push_back(bucket);
  }
  if (options_.overlap) send_ready();
}

void GradientReducer::send_ready() {
  while (sent_ < order_.size() && missing_[order_[sent_]] == 0) send(order_[sent_++]);
}

void GradientReducer::finish() {
  if (!armed_) return;
  armed_ = false;
  while (sent_ < order_.size()) send(order_[sent_++]);  // parameters without gradients among them
  for (const auto& pending : pending_) pending->wait();
  pending_.clear();
  if (!learned_) learn_order();
}

void GradientReducer::send(size_t bucket) {
  const Range range = partition_.bucket(bucket);
  at::Tensor whole = flat_.gradients().narrow(0, range.begin, range.size());
  if (!options_.shard && options_.wire == Wire::kFloat32) {
    pending_.push_back(communicator_.all_reduce(whole));
    return;
  }
  const Range own = partition_.part(bucket, communicator_.rank());
  at::Tensor part = flat_.gradients().narrow(0, own.begin, own.size());
  pending_.push_back(communicator_.reduce_scatter(whole, part, options_.wire));
  if (!options_.shard) pending_.push_back(communicator_.all_gather(part, whole));
}

void GradientReducer::learn_order() {
  learned_ = true;
  // What never was ready (frozen, unused) would hold back the others: it goes last.
  std::vector<size_t> learned = ready_;
  for (size_t bucket : order_) {
    if (std::ranges::find(ready_, bucket) == ready_.end()) learned.push_back(bucket);
  }
  at::Tensor shared = at::empty({static_cast<int64_t>(learned.size())}, at::kLong);
  std::ranges::copy(learned, shared.data_ptr<int64_t>());
  communicator_.broadcast(shared, 0)->wait();
  const int64_t* order = shared.data_ptr<int64_t>();
  for (size_t i = 0; i < order_.size(); ++i) order_[i] = static_cast<size_t>(order[i]);
}

}  // namespace kessoku::runtime
