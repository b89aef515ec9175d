#include "runtime/training/partition.h"

#include <algorithm>

namespace kessoku::runtime {

namespace {

int64_t round_up(int64_t value, int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

}  // namespace

Partition::Partition(int64_t numel, int64_t bucket_numel, int parts)
    : parts_(parts),
      numel_(round_up(std::max<int64_t>(numel, 1), kAlignment * parts)),
      bucket_numel_(round_up(std::max<int64_t>(bucket_numel, 1), kAlignment * parts)) {}

size_t Partition::buckets() const {
  return static_cast<size_t>((numel_ + bucket_numel_ - 1) / bucket_numel_);
}

Range Partition::bucket(size_t index) const {
  const int64_t begin = static_cast<int64_t>(index) * bucket_numel_;
  return {begin, std::min(begin + bucket_numel_, numel_)};
}

size_t Partition::bucket_of(int64_t position) const {
  return static_cast<size_t>(position / bucket_numel_);
}

Range Partition::part(size_t index, int owner) const {
  const Range whole = bucket(index);
  const int64_t each = whole.size() / parts_;
  return {whole.begin + owner * each, whole.begin + (owner + 1) * each};
}

std::vector<Range> Partition::owned_by(int owner) const {
  std::vector<Range> owned;
  for (size_t i = 0; i < buckets(); ++i)
    owned.push_back(owner == kEverybody ? bucket(i) : part(i, owner));
  return owned;
}

int64_t total_size(const std::vector<Range>& ranges) {
  int64_t total = 0;
  for (const Range& range : ranges) total += range.size();
  return total;
}

}  // namespace kessoku::runtime
