#include "runtime/training/gradient_reducer.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
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

namespace {

SummationTree sent_tree(const ReducerOptions& options, int64_t micro_batches, int ranks) {
  return options.reduction == Reduction::kFast ? SummationTree::over_ranks(ranks)
                                               : SummationTree(micro_batches, ranks);
}

/// Of the two halves of a block of two leaves, backward adds the second to the first.
bool adds_to(TreeBlock filling, int64_t leaf) {
  return filling.is_sibling_of({0, leaf}) && filling.level == 0;
}

}  // namespace

size_t kept_gradient_buffers(const SummationTree& leaves, Reduction reduction) {
  if (reduction == Reduction::kFast) return 0;
  size_t most = 0;
  for (int rank = 0; rank < leaves.ranks(); ++rank) {
    std::vector<TreeBlock> kept;
    TreeBlock filling{0, leaves.first_leaf(rank)};
    for (int64_t i = 1; i < leaves.leaves_per_rank(); ++i) {
      const int64_t leaf = leaves.first_leaf(rank) + i;
      if (adds_to(filling, leaf)) {
        filling = filling.parent();
        continue;
      }
      while (!kept.empty() && kept.back().is_sibling_of(filling)) {
        kept.pop_back();
        filling = filling.parent();
      }
      kept.push_back(filling);
      most = std::max(most, kept.size());
      filling = {0, leaf};
    }
  }
  return most;
}

GradientReducer::GradientReducer(FlatParameters& flat, const Partition& partition,
                                 const ReducerOptions& options, int64_t micro_batches,
                                 Communicator& communicator)
    : flat_(flat),
      partition_(partition),
      options_(options),
      communicator_(communicator),
      per_rank_(micro_batches / communicator.size()),
      tree_(sent_tree(options, micro_batches, communicator.size())),
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

void GradientReducer::prepare(int64_t number, bool hold) {
  const int64_t leaf = communicator_.rank() * per_rank_ + number;
  if (number == 0) {
    filling_ = {0, leaf};
    flat_.clear_gradients();
  } else if (adds_to(filling_, leaf)) {
    filling_ = filling_.parent();
  } else if (options_.reduction == Reduction::kExact) {
    keep();
    filling_ = {0, leaf};
    flat_.clear_gradients();
  }
  last_ = number + 1 == per_rank_;
  early_ = options_.overlap && !hold;
  missing_ = gradients_of_;
  ready_.clear();
  sent_ = 0;
}

int64_t GradientReducer::alone_at(int rank, int64_t number) const {
  if (options_.reduction == Reduction::kFast) return 0;
  const int64_t leaf = rank * per_rank_ + number;
  return number > 0 && leaf % 2 == 1 ? number - 1 : number;
}

/// Of the sum that the gradient buffer holds: it is added to its sibling, or waits for it.
void GradientReducer::keep() {
  const at::NoGradGuard no_grad;
  if (!kept_.empty() && kept_.back().block.is_sibling_of(filling_)) {
    kept_.back().values.add_(flat_.gradients());
    kept_.back().block = filling_.parent();
  } else {
    if (free_.empty()) free_.push_back(at::empty_like(flat_.gradients()));
    free_.back().copy_(flat_.gradients());
    kept_.push_back({filling_, std::move(free_.back())});
    free_.pop_back();
  }
  while (kept_.size() > 1 && (kept_.end() - 2)->block.is_sibling_of(kept_.back().block)) {
    const Kept right = std::move(kept_.back());
    kept_.pop_back();
    kept_.back().values.add_(right.values);
    kept_.back().block = right.block.parent();
    free_.push_back(right.values);
  }
}

/// Adds to a bucket what was kept of it, until the gradient buffer holds this rank's last block.
void GradientReducer::complete(size_t bucket) {
  const at::NoGradGuard no_grad;
  if (kept_.empty()) return;
  const Range range = partition_.bucket(bucket);
  at::Tensor sum = flat_.gradients().narrow(0, range.begin, range.size());
  TreeBlock block = filling_;
  for (size_t i = kept_.size(); i-- > 0 && kept_[i].block.is_sibling_of(block);) {
    sum.add_(kept_[i].values.narrow(0, range.begin, range.size()));
    block = block.parent();
  }
}

void GradientReducer::on_gradient(size_t parameter) {
  flat_.collect_gradient(parameter);
  if (!last_) return;
  for (size_t bucket : buckets_of_[parameter]) {
    if (--missing_[bucket] == 0) ready_.push_back(bucket);
  }
  if (early_) send_ready();
}

void GradientReducer::send_ready() {
  while (sent_ < order_.size() && missing_[order_[sent_]] == 0) send(order_[sent_++]);
}

void GradientReducer::finish() {
  while (sent_ < order_.size()) send(order_[sent_++]);  // parameters without gradients among them
  for (const auto& pending : pending_) pending->order();
  for (Kept& kept : kept_) free_.push_back(std::move(kept.values));
  kept_.clear();
  last_ = false;
  if (!learned_ && communicator_.size() > 1) learn_order();
}

void GradientReducer::require_done() {
  for (const auto& pending : pending_) pending->wait();
  pending_.clear();
}

void GradientReducer::send(size_t bucket) {
  complete(bucket);
  const Range range = partition_.bucket(bucket);
  const Range own = partition_.part(bucket, communicator_.rank());
  const size_t kept = tree_.blocks_of(communicator_.rank()).size() - 1;
  if (communicator_.size() == 1 && kept == 0) return;
  std::vector<at::Tensor> blocks;
  for (size_t i = 0; i < kept; ++i)
    blocks.push_back(kept_[i].values.narrow(0, range.begin, range.size()));
  at::Tensor whole = flat_.gradients().narrow(0, range.begin, range.size());
  blocks.push_back(whole);
  at::Tensor part = flat_.gradients().narrow(0, own.begin, own.size());
  pending_.push_back(communicator_.reduce_scatter(blocks, part, tree_, options_.wire));
  if (!options_.shard && communicator_.size() > 1)
    pending_.push_back(communicator_.all_gather(part, whole));
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
