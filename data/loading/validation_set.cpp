#include "data/loading/validation_set.h"

#include <algorithm>

#include "base/random.h"

namespace kessoku::data {
namespace {

constexpr uint64_t kSeed = 0;

LoaderOptions plain(LoaderOptions options) {
  options.seed = kSeed;
  options.caption_dropout = options.flip = 0;
  options.shuffle_tags = options.use_settings = false;
  return options;
}

}  // namespace

ValidationSet::ValidationSet(const Store& store, const std::vector<bool>& held_out,
                             LoaderOptions options)
    : options_(plain(std::move(options))),
      by_bucket_(store.manifest().buckets.size()),
      maker_(store, options_, [this](const Draw& draw) { return neighbors(draw); }) {
  std::vector<std::vector<Draw>> draws(by_bucket_.size());
  for (uint32_t i = 0; i < held_out.size(); ++i) {
    if (!held_out[i]) continue;
    const uint32_t bucket = store.rows()[i].bucket;
    by_bucket_[bucket].push_back(i);
    // Not mixed further: the lowest bits tell the views apart, see `batch`.
    const uint64_t key = mix_bits(store.provenance(i).content_hash) / kViews * kViews;
    for (uint64_t view = 0; view < kViews; ++view)
      draws[bucket].push_back({.number = key + view, .pass = 0, .example = i, .bucket = bucket});
  }
  const size_t most = std::max<uint64_t>(options_.micro_batch, 1);
  size_t number = 0;
  for (const std::vector<Draw>& all : draws) {
    for (size_t begin = 0; begin < all.size(); begin += most, ++number) {
      if (number % static_cast<size_t>(options_.ranks) != static_cast<size_t>(options_.rank))
        continue;
      const size_t end = std::min(all.size(), begin + most);
      batches_.emplace_back(all.begin() + static_cast<int64_t>(begin),
                            all.begin() + static_cast<int64_t>(end));
      first_draws_.push_back(draws_ + begin);
    }
    draws_ += all.size();
  }
}

std::vector<uint32_t> ValidationSet::neighbors(const Draw& draw) const {
  std::vector<uint32_t> others = by_bucket_[draw.bucket];
  const auto own = std::ranges::find(others, draw.example);
  std::ranges::rotate(others, own);
  others.erase(others.begin());
  return others;
}

Batch ValidationSet::batch(size_t i) const {
  Batch batch = maker_.make(0, 0, batches_.at(i));
  int64_t* timestep = batch.timesteps.mutable_data_ptr<int64_t>();
  const auto range = static_cast<double>(options_.timesteps - options_.first_timestep);
  for (const Draw& draw : batch.draws) {
    const double within = RandomStream(kSeed, Purpose::kTimestep, draw.number).uniform();
    const double place = (static_cast<double>(draw.number % kViews) + within) / kViews;
    *timestep++ = options_.first_timestep + static_cast<int64_t>(place * range);
  }
  return batch;
}

}  // namespace kessoku::data
