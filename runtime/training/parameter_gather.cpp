#include "runtime/training/parameter_gather.h"

#include <chrono>
#include <utility>

#include "runtime/host/device.h"

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

void ParameterGather::await(std::span<const model::Parameter> used) {
  for (const model::Parameter& parameter : used) {
    const auto found = ranges_.find(parameter.tensor.unsafeGetTensorImpl());
    if (found == ranges_.end()) continue;
    const auto& [begin, end] = found->second;
    for (size_t bucket = partition_.bucket_of(begin); bucket <= partition_.bucket_of(end - 1);
         ++bucket)
      await_bucket(bucket);
  }
}

void ParameterGather::await_all() {
  for (size_t bucket = 0; bucket < pending_.size(); ++bucket) await_bucket(bucket);
}

void ParameterGather::await_bucket(size_t bucket) {
  const std::unique_ptr<Pending> pending = std::move(pending_[bucket]);
  if (!pending) return;
  using Clock = std::chrono::steady_clock;
  // A GPU may still be busy with what came before: only then does waiting begin.
  if (!pending->done()) synchronize(flat_.values().device());
  const Clock::time_point start = Clock::now();
  pending->wait();
  waited_ += std::chrono::duration<double>(Clock::now() - start).count();
}

double ParameterGather::take_waited_seconds() { return std::exchange(waited_, 0); }

}  // namespace kessoku::runtime
