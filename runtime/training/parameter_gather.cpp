#include "runtime/training/parameter_gather.h"

#include <utility>

namespace kessoku::runtime {

ParameterGather::ParameterGather(const FlatParameters& flat, const Partition& partition,
                                 Communicator& communicator)
    : flat_(flat),
      partition_(partition),
      communicator_(communicator),
      pending_(partition.buckets()) {
  for (size_t i = 0; i < flat.ranges().size(); ++i) {
    const FlatRange& range = flat.ranges()[i];
    ranges_[flat.parameters()[i].tensor.unsafeGetTensorImpl()] = {range.offset,
                                                                  range.offset + range.numel};
  }
}

void ParameterGather::send(size_t bucket) {
  const Range range = partition_.bucket(bucket);
  const Range own = partition_.part(bucket, communicator_.rank());
  at::Tensor whole = flat_.values().narrow(0, range.begin, range.size());
  pending_[bucket] =
      communicator_.all_gather(flat_.values().narrow(0, own.begin, own.size()), whole);
}

bool ParameterGather::order(std::span<const model::Parameter> used) {
  bool any = false;
  for (const model::Parameter& parameter : used) {
    const auto found = ranges_.find(parameter.tensor.unsafeGetTensorImpl());
    if (found == ranges_.end()) continue;
    const auto& [begin, end] = found->second;
    for (size_t bucket = partition_.bucket_of(begin); bucket <= partition_.bucket_of(end - 1);
         ++bucket)
      any |= order_bucket(bucket);
  }
  return any;
}

bool ParameterGather::order_all() {
  bool any = false;
  for (size_t bucket = 0; bucket < pending_.size(); ++bucket) any |= order_bucket(bucket);
  return any;
}

void ParameterGather::await_all() {
  order_all();
  require_done();
}

void ParameterGather::require_done() {
  for (const auto& pending : ordered_) pending->wait();
  ordered_.clear();
}

bool ParameterGather::order_bucket(size_t bucket) {
  std::unique_ptr<Pending> pending = std::move(pending_[bucket]);
  if (!pending) return false;
  pending->order();
  ordered_.push_back(std::move(pending));
  return true;
}

}  // namespace kessoku::runtime
