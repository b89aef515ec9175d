#include "data/sampling/bucket_stream.h"

#include <algorithm>
#include <numeric>

namespace kessoku::data {

void BucketStream::add(const Segment& segment) {
  segments_.push_back(segment);
  images_ += segment.images;
  largest_ = std::max(largest_, segment.images);
  pass_share_ += (*quotas_)[segment.leaf].multiplier() * static_cast<double>(segment.images);
}

uint64_t BucketStream::draws(uint64_t from, uint64_t to) const {
  uint64_t draws = 0;
  for (const Segment& segment : segments_)
    draws += (*quotas_)[segment.leaf].draws(segment.part, from, to);
  return draws;
}

RandomStream BucketStream::random(Purpose purpose, uint64_t index) const {
  return {seed_, purpose, mix_bits(mix_bits(pass_) + group_) + index};
}

void BucketStream::open_pass(uint64_t pass, uint64_t begin) {
  pass_ = pass;
  begin_ = begin;
  block_.reset();
  sums_.assign(1, 0);
  extras_.clear();
  for (const Segment& segment : segments_) {
    const Quota& quota = (*quotas_)[segment.leaf];
    sums_.push_back(sums_.back() + quota.draws(segment.part, pass, pass + 1));
    extras_.push_back(quota.drawn_before(segment.part, pass).begun);
  }
  if (sums_.back() == 0) return;
  RandomStream keys = random(Purpose::kPassOrder, 0);
  spread_.emplace(sums_.back(), keys.below(sums_.back()));
  salt_ = keys.next64();
  order_ = Permutation(largest_, keys);
}

void BucketStream::find_pass(uint64_t place) {
  if (open(place)) return;
  if (!sums_.empty()) open_pass(pass_ + 1, begin_ + sums_.back());
  if (open(place)) return;
  const uint64_t pass = pass_of(place);
  open_pass(pass, draws(0, pass));
}

// The last pass with draws(0, pass) ≤ place. The mean length leads to it or next to it; should it
// lead astray, bisection goes on.
uint64_t BucketStream::pass_of(uint64_t place) const {
  constexpr int kNear = 16;
  auto low = static_cast<uint64_t>(static_cast<double>(place) / pass_share_);
  uint64_t begin = draws(0, low);
  for (int step = 0; step < kNear; ++step) {
    if (begin > place) {
      --low;
      begin -= draws(low, low + 1);
      continue;
    }
    const uint64_t length = draws(low, low + 1);
    if (begin + length > place) return low;
    begin += length;
    ++low;
  }
  uint64_t high = low + 1;
  for (uint64_t stride = 1; low > 0 && draws(0, low) > place; stride *= 2) {
    high = low;
    low -= std::min(low, stride);
  }
  for (uint64_t stride = 1; draws(0, high) <= place; stride *= 2) {
    low = high;
    high += stride;
  }
  while (high - low > 1) {
    const uint64_t middle = low + (high - low) / 2;
    (draws(0, middle) <= place ? low : high) = middle;
  }
  return low;
}

void BucketStream::open_block(uint64_t block) {
  if (block_ == block) return;
  block_ = block;
  const uint64_t size = std::min(kBlock, sums_.back() - block * kBlock);
  std::iota(in_block_.begin(), in_block_.end(), uint8_t{0});
  RandomStream keys = random(Purpose::kBlockOrder, block);
  for (uint64_t left = size; left > 1; --left) {
    // 32 bits are plenty for numbers below 64: the bias is some 2^-26.
    const uint64_t other = (left * keys.next()) >> 32;
    std::swap(in_block_[left - 1], in_block_[other]);
  }
}

// Finds the segment of the pass's draw at `place`, and sets up `item`, the place within it that is
// to be shuffled.
BucketStream::Target BucketStream::target(uint64_t place, Permutation::Item& item) {
  open_block(place / kBlock);
  const uint64_t index = (*spread_)(place / kBlock * kBlock + in_block_[place % kBlock]);
  const auto after = std::upper_bound(sums_.begin(), sums_.end(), index);
  const auto which = static_cast<size_t>(after - sums_.begin()) - 1;
  const uint64_t images = segments_[which].images;
  const uint64_t draws = sums_[which + 1] - sums_[which];
  const uint64_t each = draws / images;  // draws of every image; the rest is drawn once more
  const uint64_t draw = index - sums_[which];
  const bool extra = draw >= images * each;
  if (extra) {
    item = {draw - images * each, draws - images * each, 0};
  } else {
    item = {draw / each, images, 0};
  }
  item.salt = mix_bits(salt_ + 2 * which + (extra ? 1 : 0));
  return {which, extra};
}

void BucketStream::read_chunk(uint64_t first, std::span<Place> out) {
  constexpr size_t kMost = 32;
  std::array<Permutation::Item, kMost> items;
  std::array<Target, kMost> targets;
  for (size_t done = 0; done < out.size();) {
    const size_t count = std::min(kMost, out.size() - done);
    for (size_t i = 0; i < count; ++i) targets[i] = target(first - begin_ + done + i, items[i]);
    order_.apply({items.data(), count});
    for (size_t i = 0; i < count; ++i) {
      const Segment& segment = segments_[targets[i].segment];
      uint64_t image = items[i].place;
      if (targets[i].extra) image = (extras_[targets[i].segment] + image) % segment.images;
      out[done + i] = {pass_, segment.offset + image};
    }
    done += count;
  }
}

void BucketStream::read(uint64_t first, std::span<Place> out) {
  while (!out.empty()) {
    find_pass(first);
    const uint64_t count = std::min<uint64_t>(out.size(), begin_ + sums_.back() - first);
    read_chunk(first, out.first(count));
    out = out.subspan(count);
    first += count;
  }
}

}  // namespace kessoku::data
