#include "data/sampler.h"

#include <cmath>
#include <numeric>

#include "base/error.h"
#include "base/random.h"
#include "data/bucket_stream.h"
#include "data/interleave.h"

namespace kessoku::data {
namespace {

constexpr uint64_t kMaxPassDraws = uint64_t{1} << 40;

uint64_t default_pass_draws(const Mixture& mixture) {
  double longest = 0;
  for (size_t i = 0; i < mixture.own_share.size(); ++i) {
    if (!(mixture.own_share[i] > 0)) continue;
    longest =
        std::max(longest, static_cast<double>(mixture.own_examples[i]) / mixture.own_share[i]);
  }
  // Rounding must not make 50 of 49 equal images.
  return static_cast<uint64_t>(std::min(std::ceil(longest * (1 - 1e-12)), double{kMaxPassDraws}));
}

// Sorts the indices in `order` by `key`, keeping the order of equals.
template <typename Key>
void counting_sort(std::vector<uint32_t>& order, size_t keys, Key key) {
  std::vector<uint64_t> starts(keys + 1, 0);
  for (const uint32_t index : order) ++starts[key(index) + 1];
  std::partial_sum(starts.begin(), starts.end(), starts.begin());
  std::vector<uint32_t> sorted(order.size());
  for (const uint32_t index : order) sorted[starts[key(index)]++] = index;
  order = std::move(sorted);
}

}  // namespace

struct Sampler::Impl {
  Impl(const std::vector<Row>& rows, size_t buckets, const Mixture& mixture,
       const SamplerOptions& options);

  void sort_examples(const std::vector<Row>& rows, size_t buckets, const Mixture& mixture);
  void cut_segments(const std::vector<Row>& rows);
  void shuffle_segment(uint32_t bucket, const Segment& segment);
  void deal_steps();

  using Texts = std::vector<std::string>;
  double passes(uint64_t steps) const;
  void warn_of_passes(uint64_t steps, Texts& warnings) const;
  void warn_of_buckets(uint64_t steps, const StoreManifest& manifest, Texts& warnings) const;
  void warn_of_folders(uint64_t steps, const StoreManifest& manifest, Texts& warnings) const;

  uint64_t seed;
  uint64_t global_batch;
  uint64_t pass_draws;
  bool pass_capped = false;
  std::vector<Quota> leaves;          // by category
  std::vector<uint64_t> leaf_images;  // by category
  std::vector<uint32_t> order;        // examples, by bucket, leaf and place in the leaf
  std::vector<BucketStream> streams;  // by bucket
  std::vector<double> shares;         // by bucket
  std::optional<Interleave> turns;
};

Sampler::Impl::Impl(const std::vector<Row>& rows, size_t buckets, const Mixture& mixture,
                    const SamplerOptions& options)
    : seed(options.seed), global_batch(options.global_batch), pass_draws(options.pass_draws) {
  if (global_batch == 0) throw UsageError("train.global_batch must be at least 1");
  if (pass_draws > kMaxPassDraws) {
    throw UsageError(
        fmt::format("mixture.pass_draws = {} is too long; at most {}", pass_draws, kMaxPassDraws));
  }
  if (pass_draws == 0) {
    pass_draws = default_pass_draws(mixture);
    pass_capped = pass_draws == kMaxPassDraws;
  }
  if (pass_draws == 0)
    throw UsageError("nothing is left to draw: no folder has a share of the mixture");
  for (size_t i = 0; i < mixture.own_share.size(); ++i) {
    const uint64_t images = mixture.own_examples[i];
    const double multiplier = images == 0 ? 0
                                          : static_cast<double>(pass_draws) * mixture.own_share[i] /
                                                static_cast<double>(images);
    leaves.emplace_back(multiplier, RandomStream(seed, Purpose::kLeafPhase, i).next64());
  }
  leaf_images = mixture.own_examples;
  sort_examples(rows, buckets, mixture);
  for (uint32_t b = 0; b < buckets; ++b) streams.emplace_back(seed, b, leaves);
  cut_segments(rows);
  deal_steps();
}

void Sampler::Impl::sort_examples(const std::vector<Row>& rows, size_t buckets,
                                  const Mixture& mixture) {
  if (rows.size() > UINT32_MAX) throw DataError("the store has more than 2^32 examples");
  for (size_t i = 0; i < rows.size(); ++i) {
    if (rows[i].category >= leaves.size() || rows[i].bucket >= buckets) {
      throw DataError(
          fmt::format("example {} is of category {} and bucket {}, but there are {} and {}", i,
                      rows[i].category, rows[i].bucket, leaves.size(), buckets));
    }
    if (leaves[rows[i].category].drawn()) order.push_back(static_cast<uint32_t>(i));
  }
  if (order.empty())
    throw UsageError("nothing is left to draw: no example has a share of the mixture");
  counting_sort(order, leaves.size(), [&](uint32_t i) { return rows[i].category; });
  counting_sort(order, buckets, [&](uint32_t i) { return rows[i].bucket; });
}

void Sampler::Impl::cut_segments(const std::vector<Row>& rows) {
  std::vector<uint64_t> places(leaves.size(), 0);
  for (uint64_t begin = 0, end = 0; begin < order.size(); begin = end) {
    const Row& row = rows[order[begin]];
    const auto same = [&](uint32_t i) {
      return rows[i].category == row.category && rows[i].bucket == row.bucket;
    };
    while (end < order.size() && same(order[end])) ++end;
    const uint64_t first = places[row.category];
    places[row.category] += end - begin;
    const Segment segment{row.category, first, places[row.category], begin};
    streams[row.bucket].add(segment);
    shuffle_segment(row.bucket, segment);
  }
}

void Sampler::Impl::shuffle_segment(uint32_t bucket, const Segment& segment) {
  RandomStream random(seed, Purpose::kLeafOrder, uint64_t{segment.leaf} << 32 | bucket);
  uint32_t* examples = order.data() + segment.offset;
  for (uint64_t left = segment.last - segment.first; left > 1; --left) {
    std::swap(examples[left - 1], examples[random.below(left)]);
  }
}

void Sampler::Impl::deal_steps() {
  uint128 total = 0;
  for (const BucketStream& stream : streams) total += stream.pass_share();
  int excess = 0;
  while (total >> excess >= uint128{1} << 61) ++excess;
  std::vector<uint64_t> weights;
  for (const BucketStream& stream : streams) {
    shares.push_back(static_cast<double>(stream.pass_share()) / static_cast<double>(total));
    const auto weight = static_cast<uint64_t>(stream.pass_share() >> excess);
    weights.push_back(std::max<uint64_t>(weight, stream.pass_share() > 0));
  }
  turns.emplace(weights);
}

double Sampler::Impl::passes(uint64_t steps) const {
  return static_cast<double>(steps) * static_cast<double>(global_batch) /
         static_cast<double>(pass_draws);
}

void Sampler::Impl::warn_of_passes(uint64_t steps, Texts& warnings) const {
  if (pass_capped) {
    warnings.push_back(fmt::format(
        "the rarest image's share is below 1 in {}: it is not drawn in every pass", kMaxPassDraws));
  }
  if (passes(steps) < 1) {
    warnings.push_back(fmt::format(
        "a pass over the mixture is {} draws, the run {}: within it shares hold on average, not "
        "exactly; mixture.pass_draws sets shorter passes",
        pass_draws, steps * global_batch));
  }
}

void Sampler::Impl::warn_of_buckets(uint64_t steps, const StoreManifest& manifest,
                                    Texts& warnings) const {
  for (size_t b = 0; b < streams.size(); ++b) {
    const uint64_t images = streams[b].images();
    if (images == 0) continue;
    const std::string name =
        b < manifest.buckets.size() ? to_string(manifest.buckets[b]) : fmt::format("{}", b);
    if (turns->count(b, steps) == 0) {
      warnings.push_back(
          fmt::format("bucket {} starves: its {} images come in no step of the run", name, images));
    } else if (images < global_batch) {
      warnings.push_back(
          fmt::format("bucket {} starves: it has {} images for a global batch of {}, so they "
                      "repeat within its steps, about one step in {:.0f}",
                      name, images, global_batch, 1 / shares[b]));
    }
  }
}

void Sampler::Impl::warn_of_folders(uint64_t steps, const StoreManifest& manifest,
                                    Texts& warnings) const {
  for (size_t i = 0; i < leaves.size(); ++i) {
    const double views = static_cast<double>(leaves[i].fixed()) * 0x1p-64 * passes(steps);
    if (!leaves[i].drawn() || views >= 1) continue;
    const std::string name =
        i < manifest.categories.size() ? manifest.categories[i].path : fmt::format("{}", i);
    warnings.push_back(
        fmt::format("folder \"{}\": the run draws each of its {} images {:.2g} times on average, "
                    "so some never",
                    name, leaf_images[i], views));
  }
}

Sampler::Sampler(const std::vector<Row>& rows, size_t buckets, const Mixture& mixture,
                 const SamplerOptions& options)
    : impl_(std::make_unique<Impl>(rows, buckets, mixture, options)) {}
Sampler::Sampler(Sampler&&) noexcept = default;
Sampler::~Sampler() = default;

std::vector<Draw> Sampler::step(uint64_t step) {
  const Interleave::Turn turn = impl_->turns->at(step);
  BucketStream& stream = impl_->streams[turn.part];
  std::vector<Draw> draws;
  draws.reserve(impl_->global_batch);
  for (uint64_t i = 0; i < impl_->global_batch; ++i) {
    const BucketStream::Place place = stream.at(turn.index * impl_->global_batch + i);
    draws.push_back({step * impl_->global_batch + i, place.pass, impl_->order[place.example],
                     static_cast<uint32_t>(turn.part)});
  }
  return draws;
}

uint64_t Sampler::global_batch() const { return impl_->global_batch; }
uint64_t Sampler::pass_draws() const { return impl_->pass_draws; }
const std::vector<double>& Sampler::bucket_share() const { return impl_->shares; }

std::vector<std::string> Sampler::warnings(uint64_t steps) const { return warnings(steps, {}); }

std::vector<std::string> Sampler::warnings(uint64_t steps, const StoreManifest& manifest) const {
  std::vector<std::string> warnings;
  impl_->warn_of_passes(steps, warnings);
  impl_->warn_of_buckets(steps, manifest, warnings);
  impl_->warn_of_folders(steps, manifest, warnings);
  return warnings;
}

}  // namespace kessoku::data
