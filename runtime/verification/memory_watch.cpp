#include "runtime/verification/memory_watch.h"

#include <ATen/ops/zeros.h>

#include "runtime/verification/block_digests.h"

namespace kessoku::runtime {

MemoryWatch::MemoryWatch(std::vector<NamedSpan> spans, int64_t blocks,
                         std::vector<int64_t> owned_blocks, Communicator& communicator)
    : spans_(std::move(spans)),
      blocks_(blocks),
      owned_blocks_(std::move(owned_blocks)),
      communicator_(communicator) {}

void MemoryWatch::take(const at::Tensor& weights, std::vector<SharedTensor> owned) {
  forget();
  weights_ = {"weights", weights};
  weight_digests_ = owned_digests(weights);
  // Others' digests come from them, so that what is received is checked, too.
  if (std::ssize(owned_blocks_) < blocks_) exchange_ = communicator_.all_reduce(weight_digests_);
  owned_ = std::move(owned);
  for (const SharedTensor& tensor : owned_) digests_.push_back(block_digests(tensor.values));
}

/// By block of the flat layout; 0 for what others own.
at::Tensor MemoryWatch::owned_digests(const at::Tensor& weights) const {
  if (std::ssize(owned_blocks_) == blocks_) return block_digests(weights);
  at::Tensor digests = at::zeros({blocks_}, weights.options().dtype(at::kLong));
  for (size_t i = 0; i < owned_blocks_.size();) {
    const int64_t first = owned_blocks_[i];
    int64_t count = 0;
    for (; i < owned_blocks_.size() && owned_blocks_[i] == first + count; ++i) ++count;
    digests.narrow(0, first, count)
        .copy_(block_digests(weights.narrow(0, first * kDigestBlock, count * kDigestBlock)));
  }
  return digests;
}

void MemoryWatch::forget() {
  if (exchange_) exchange_->wait();
  exchange_.reset();
  weights_ = {};
  owned_.clear();
  digests_.clear();
}

std::string MemoryWatch::changed() {
  if (!weights_.values.defined()) return "";
  if (exchange_) exchange_->wait();
  exchange_.reset();
  const at::Tensor now = block_digests(weights_.values);
  if (!now.equal(weight_digests_)) return describe(weights_, weight_digests_, now, true);
  for (size_t i = 0; i < owned_.size(); ++i) {
    const at::Tensor digests = block_digests(owned_[i].values);
    if (!digests.equal(digests_[i])) return describe(owned_[i], digests_[i], digests, false);
  }
  return "";
}

std::string MemoryWatch::describe(const SharedTensor& tensor, const at::Tensor& before,
                                  const at::Tensor& now, bool whole) const {
  std::vector<int64_t> blocks = differing_blocks(before.cpu(), now.cpu());
  if (!whole) {
    for (int64_t& block : blocks) block = owned_blocks_[static_cast<size_t>(block)];
  }
  return tensor.what + " in " + names_in(spans_, blocks) + ", which changed in memory,";
}

}  // namespace kessoku::runtime
