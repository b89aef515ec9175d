#include "data/sampler.h"

#include <cmath>
#include <numeric>

#include "base/error.h"
#include "base/random.h"
#include "data/interleave.h"
#include "data/permutation.h"
#include "data/quota.h"

namespace kessoku::data {
namespace {

constexpr uint64_t kMaxPassDraws = uint64_t{1} << 40;

// The images of one leaf that are in one bucket: places [first, last) of the leaf, and order[offset
// …].
struct Segment {
  uint32_t leaf;
  uint64_t first;
  uint64_t last;
  uint64_t offset;
};

// A pass of a bucket's stream, laid open.
struct Pass {
  uint64_t number = 0;
  uint64_t begin = 0;          // place in the stream
  std::vector<uint64_t> sums;  // draws of the segments before
  Permutation order;

  uint64_t size() const { return sums.empty() ? 0 : sums.back(); }
  bool holds(uint64_t place) const { return place >= begin && place - begin < size(); }
};

struct Stream {
  std::vector<Segment> segments;
  uint128 pass_share = 0;  // Σ of the images' multipliers, · 2^64
  double mean_pass = 0;    // the same, in draws
  uint64_t images = 0;
  Pass pass;  // the last one used
};

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

  void find_pass(uint32_t bucket, uint64_t place);
  uint64_t draws_before(const Stream& stream, uint64_t pass) const;
  uint64_t pass_of(const Stream& stream, uint64_t place) const;
  void open_pass(uint32_t bucket, uint64_t number, uint64_t begin);
  uint32_t example_at(const Stream& stream, uint64_t place) const;

  uint64_t seed;
  uint64_t global_batch;
  uint64_t pass_draws;
  bool pass_capped = false;
  std::vector<Quota> leaves;          // by category
  std::vector<uint64_t> leaf_images;  // by category
  std::vector<uint32_t> order;        // examples, by bucket, leaf and place in the leaf
  std::vector<Stream> streams;        // by bucket
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
  streams.resize(buckets);
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
  // A leaf's order keeps the images of one bucket together, so that a bucket's draws of it
  // telescope too.
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
    Stream& stream = streams[row.bucket];
    stream.segments.push_back(segment);
    stream.images += end - begin;
    stream.pass_share += leaves[row.category].fixed() * (end - begin);
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
  for (const Stream& stream : streams) total += stream.pass_share;
  int excess = 0;
  while (total >> excess >= uint128{1} << 61) ++excess;
  std::vector<uint64_t> weights;
  for (Stream& stream : streams) {
    stream.mean_pass = static_cast<double>(stream.pass_share) * 0x1p-64;
    shares.push_back(static_cast<double>(stream.pass_share) / static_cast<double>(total));
    const auto weight = static_cast<uint64_t>(stream.pass_share >> excess);
    weights.push_back(std::max<uint64_t>(weight, stream.pass_share > 0));
  }
  turns.emplace(weights);
}

uint64_t Sampler::Impl::draws_before(const Stream& stream, uint64_t pass) const {
  uint64_t draws = 0;
  for (const Segment& segment : stream.segments) {
    draws += leaves[segment.leaf].draws_before(segment.first, segment.last, pass);
  }
  return draws;
}

// The pass that holds `place` of the stream: the last one with draws_before(pass) ≤ place.
uint64_t Sampler::Impl::pass_of(const Stream& stream, uint64_t place) const {
  uint64_t low = static_cast<uint64_t>(static_cast<double>(place) / stream.mean_pass);
  uint64_t high = low + 1;
  for (uint64_t stride = 1; low > 0 && draws_before(stream, low) > place; stride *= 2) {
    high = low;
    low -= std::min(low, stride);
  }
  for (uint64_t stride = 1; draws_before(stream, high) <= place; stride *= 2) {
    low = high;
    high += stride;
  }
  while (high - low > 1) {
    const uint64_t middle = low + (high - low) / 2;
    (draws_before(stream, middle) <= place ? low : high) = middle;
  }
  return low;
}

void Sampler::Impl::open_pass(uint32_t bucket, uint64_t number, uint64_t begin) {
  Stream& stream = streams[bucket];
  Pass& pass = stream.pass;
  pass.number = number;
  pass.begin = begin;
  pass.sums.assign(1, 0);
  for (const Segment& segment : stream.segments) {
    pass.sums.push_back(pass.sums.back() +
                        leaves[segment.leaf].draws(segment.first, segment.last, number));
  }
  const RandomStream random(seed, Purpose::kPassOrder, mix_bits(number) + bucket);
  pass.order = Permutation(pass.size(), random);
}

void Sampler::Impl::find_pass(uint32_t bucket, uint64_t place) {
  Stream& stream = streams[bucket];
  const Pass& pass = stream.pass;
  if (pass.holds(place)) return;
  if (pass.size() > 0) open_pass(bucket, pass.number + 1, pass.begin + pass.size());
  if (pass.holds(place)) return;
  const uint64_t number = pass_of(stream, place);
  open_pass(bucket, number, draws_before(stream, number));
}

uint32_t Sampler::Impl::example_at(const Stream& stream, uint64_t place) const {
  const Pass& pass = stream.pass;
  const uint64_t index = pass.order(place - pass.begin);
  const auto after = std::upper_bound(pass.sums.begin(), pass.sums.end(), index);
  const size_t which = static_cast<size_t>(after - pass.sums.begin()) - 1;
  const Segment& segment = stream.segments[which];
  const uint64_t image =
      leaves[segment.leaf].image_at(segment.first, pass.number, index - pass.sums[which]);
  return order[segment.offset + (image - segment.first)];
}

Sampler::Sampler(const std::vector<Row>& rows, size_t buckets, const Mixture& mixture,
                 const SamplerOptions& options)
    : impl_(std::make_unique<Impl>(rows, buckets, mixture, options)) {}
Sampler::Sampler(Sampler&&) noexcept = default;
Sampler::~Sampler() = default;

std::vector<Draw> Sampler::step(uint64_t step) {
  const Interleave::Turn turn = impl_->turns->at(step);
  const auto bucket = static_cast<uint32_t>(turn.part);
  const Stream& stream = impl_->streams[bucket];
  std::vector<Draw> draws;
  draws.reserve(impl_->global_batch);
  for (uint64_t i = 0; i < impl_->global_batch; ++i) {
    const uint64_t place = turn.index * impl_->global_batch + i;
    impl_->find_pass(bucket, place);
    draws.push_back({step * impl_->global_batch + i, stream.pass.number,
                     impl_->example_at(stream, place), bucket});
  }
  return draws;
}

uint64_t Sampler::global_batch() const { return impl_->global_batch; }
uint64_t Sampler::pass_draws() const { return impl_->pass_draws; }
const std::vector<double>& Sampler::bucket_share() const { return impl_->shares; }

std::vector<std::string> Sampler::warnings(uint64_t steps) const { return warnings(steps, {}); }

std::vector<std::string> Sampler::warnings(uint64_t steps, const StoreManifest& manifest) const {
  std::vector<std::string> warnings;
  const double draws = static_cast<double>(steps) * static_cast<double>(impl_->global_batch);
  const double passes = draws / static_cast<double>(impl_->pass_draws);
  if (impl_->pass_capped) {
    warnings.push_back(fmt::format(
        "the rarest image's share is below 1 in {}: it is not drawn in every pass", kMaxPassDraws));
  }
  if (passes < 1 && steps > 0) {
    warnings.push_back(
        fmt::format("a pass over the mixture is {} draws, the run only {:.0f}: shares hold on "
                    "average, not exactly; "
                    "mixture.pass_draws sets shorter passes",
                    impl_->pass_draws, draws));
  }
  for (size_t b = 0; b < impl_->streams.size(); ++b) {
    const Stream& stream = impl_->streams[b];
    if (stream.pass_share == 0) continue;
    const std::string name =
        b < manifest.buckets.size() ? to_string(manifest.buckets[b]) : fmt::format("{}", b);
    const uint64_t turns = impl_->turns->count(b, steps);
    if (turns == 0) {
      warnings.push_back(fmt::format("bucket {} starves: its {} images come in no step of the run",
                                     name, stream.images));
    } else if (static_cast<uint64_t>(stream.images) < impl_->global_batch) {
      warnings.push_back(
          fmt::format("bucket {} starves: it has {} images for a global batch of {}, so images "
                      "repeat within a step, every {:.0f} steps",
                      name, stream.images, impl_->global_batch, 1 / impl_->shares[b]));
    }
  }
  for (size_t i = 0; i < impl_->leaves.size(); ++i) {
    const double views = static_cast<double>(impl_->leaves[i].fixed()) * 0x1p-64 * passes;
    if (!impl_->leaves[i].drawn() || views >= 1 || impl_->leaf_images[i] == 0) continue;
    const std::string name =
        i < manifest.categories.size() ? manifest.categories[i].path : fmt::format("{}", i);
    warnings.push_back(fmt::format(
        "folder \"{}\": the run draws each of its {} images {:.2g} times, so some never", name,
        impl_->leaf_images[i], views));
  }
  return warnings;
}

}  // namespace kessoku::data
