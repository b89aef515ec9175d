#include "data/bucket_stream.h"

namespace kessoku::data {

void BucketStream::add(const Segment& segment) {
  const uint64_t images = segment.last - segment.first;
  segments_.push_back(segment);
  images_ += images;
  pass_share_ += (*leaves_)[segment.leaf].fixed() * images;
}

uint64_t BucketStream::draws_before(uint64_t pass) const {
  uint64_t draws = 0;
  for (const Segment& segment : segments_) {
    draws += (*leaves_)[segment.leaf].draws_before(segment.first, segment.last, pass);
  }
  return draws;
}

// The pass that holds `place`: the last one with draws_before(pass) ≤ place. Bisection around the
// mean.
uint64_t BucketStream::pass_of(uint64_t place) const {
  const double mean = static_cast<double>(pass_share_) * 0x1p-64;
  auto low = static_cast<uint64_t>(static_cast<double>(place) / mean);
  uint64_t high = low + 1;
  for (uint64_t stride = 1; low > 0 && draws_before(low) > place; stride *= 2) {
    high = low;
    low -= std::min(low, stride);
  }
  for (uint64_t stride = 1; draws_before(high) <= place; stride *= 2) {
    low = high;
    high += stride;
  }
  while (high - low > 1) {
    const uint64_t middle = low + (high - low) / 2;
    (draws_before(middle) <= place ? low : high) = middle;
  }
  return low;
}

void BucketStream::open_pass(uint64_t pass, uint64_t begin) {
  pass_ = pass;
  begin_ = begin;
  sums_.assign(1, 0);
  for (const Segment& segment : segments_) {
    sums_.push_back(sums_.back() +
                    (*leaves_)[segment.leaf].draws(segment.first, segment.last, pass));
  }
  order_ =
      Permutation(sums_.back(), RandomStream(seed_, Purpose::kPassOrder, mix_bits(pass) + bucket_));
}

void BucketStream::find_pass(uint64_t place) {
  if (open(place)) return;
  if (!sums_.empty()) open_pass(pass_ + 1, begin_ + sums_.back());
  if (open(place)) return;
  const uint64_t pass = pass_of(place);
  open_pass(pass, draws_before(pass));
}

BucketStream::Place BucketStream::at(uint64_t place) {
  find_pass(place);
  const uint64_t index = order_(place - begin_);
  const auto after = std::upper_bound(sums_.begin(), sums_.end(), index);
  const size_t which = static_cast<size_t>(after - sums_.begin()) - 1;
  const Segment& segment = segments_[which];
  const uint64_t image =
      (*leaves_)[segment.leaf].image_at(segment.first, pass_, index - sums_[which]);
  return {pass_, segment.offset + (image - segment.first)};
}

}  // namespace kessoku::data
