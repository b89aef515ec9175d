#include "data/sampling/sampler.h"

#include <cmath>
#include <utility>

#include "base/error.h"
#include "base/parallel.h"
#include "base/random.h"
#include "base/text.h"
#include "data/sampling/bucket_stream.h"
#include "data/sampling/interleave.h"
#include "data/sampling/parts.h"

namespace kessoku::data {
namespace {

constexpr uint64_t kMaxPassDraws = uint64_t{1} << 40;

uint64_t default_pass_draws(const Mixture& mixture) {
  double longest = 0;
  for (const Leaf& leaf : mixture.leaves)
    longest = std::max(longest, static_cast<double>(leaf.images) / leaf.share);
  // Rounding must not make 50 of 49 equal images.
  return static_cast<uint64_t>(std::min(std::ceil(longest * (1 - 1e-12)), double{kMaxPassDraws}));
}

}  // namespace

struct Sampler::Impl {
  Impl(const Examples& examples, const Mixture& mixture, const SamplerOptions& options);

  void choose_pass(const Mixture& mixture);
  // The examples of one leaf and group.
  struct Cell {
    uint32_t leaf, group;
    uint64_t begin, end;  // in `order`
    double share;         // of a pass's draws
  };
  void sort_examples(const Examples& examples, const Mixture& mixture, int threads);
  void add_leaf(uint32_t leaf, uint64_t begin, std::span<const uint64_t> ends);
  void shuffle(const Cell& cell);
  void deal_steps();

  size_t cell_of(uint32_t example) const;
  std::vector<uint32_t> substitutes(const Draw& draw) const;

  using Texts = std::vector<std::string>;
  double passes(uint64_t steps) const;
  void warn_of_passes(Texts& warnings) const;
  std::string name_of(size_t group, const StoreManifest& manifest) const;
  void warn_of_groups(uint64_t steps, const StoreManifest& manifest, Texts& warnings) const;
  Texts rare_folders(uint64_t steps, const StoreManifest& manifest) const;

  uint64_t seed;
  uint64_t global_batch;
  uint64_t pass_draws;
  bool pass_capped = false;
  std::vector<Group> groups;
  std::vector<Leaf> leaves;
  std::vector<Quota> quotas;          // by leaf
  std::vector<uint32_t> order;        // examples, by leaf, group and place on the circle
  std::vector<Cell> cells;            // of `order`, one after another
  std::vector<BucketStream> streams;  // by group
  std::vector<double> shares;         // by group
  std::optional<Interleave> turns;
  std::vector<BucketStream::Place> places;  // of the step that is drawn
};

Sampler::Impl::Impl(const Examples& examples, const Mixture& mixture, const SamplerOptions& options)
    : seed(options.seed),
      global_batch(options.global_batch),
      pass_draws(options.pass_draws),
      groups(examples.groups),
      leaves(mixture.leaves) {
  if (global_batch == 0) throw UsageError("train.global_batch must be at least 1");
  choose_pass(mixture);
  for (uint32_t i = 0; i < groups.size(); ++i) streams.emplace_back(seed, i, quotas);
  sort_examples(examples, mixture, options.threads);
  deal_steps();
}

void Sampler::Impl::choose_pass(const Mixture& mixture) {
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
}

// Finds the cells of examples: soonest of one whose folder and multiplier are the last one's.
class CellFinder {
 public:
  CellFinder(const Examples& examples, const Mixture& mixture)
      : examples_(examples), mixture_(mixture), groups_(examples.groups.size()) {}

  // Nothing for an example that is never drawn.
  std::optional<uint64_t> operator()(uint64_t example) {
    const ExampleKey key = examples_.at(example);
    if (key.group >= groups_) {
      throw DataError(fmt::format("example {} is of group {} of {}", example, key.group, groups_));
    }
    if (key.category != last_.category || key.multiply != last_.multiply ||
        key.held_out != last_.held_out) {
      leaf_ = mixture_.leaf_of(key);
      last_ = key;
    }
    if (!leaf_) return std::nullopt;
    return *leaf_ * groups_ + key.group;
  }

 private:
  const Examples& examples_;
  const Mixture& mixture_;
  const size_t groups_;
  ExampleKey last_{.category = UINT32_MAX, .group = 0, .multiply = 0};
  std::optional<uint32_t> leaf_;  // of last_
};

// A counting sort by leaf and group. Each part of the examples is counted, and put in its place, by
// a thread; the result is the same for any number of parts.
void Sampler::Impl::sort_examples(const Examples& examples, const Mixture& mixture, int threads) {
  if (examples.size > UINT32_MAX) throw DataError("the store has more than 2^32 examples");
  const Parts parts(examples.size, threads);
  const auto for_each_of = [&](size_t part, const auto& work) {
    CellFinder find_cell(examples, mixture);
    for (uint64_t i = parts.begin(part); i < parts.begin(part + 1); ++i) {
      if (const auto cell = find_cell(i)) work(*cell, i);
    }
  };
  // By part and cell: how many examples; then the place in `order` of the next one.
  std::vector<std::vector<uint64_t>> places(parts.count());
  std::vector<uint64_t> ends(groups.size() * leaves.size());  // of the cells
  parallel_for(parts.count(), threads, [&](size_t part) {
    places[part].resize(ends.size());
    for_each_of(part, [&](uint64_t cell, uint64_t) { ++places[part][cell]; });
  });
  uint64_t end = 0;
  for (size_t cell = 0; cell < ends.size(); ends[cell++] = end) {
    for (std::vector<uint64_t>& own : places) end += std::exchange(own[cell], end);
  }
  if (end == 0) throw UsageError("nothing is left to draw: no example has a share of the mixture");
  order.resize(end);
  parallel_for(parts.count(), threads, [&](size_t part) {
    for_each_of(part, [&](uint64_t cell, uint64_t example) {
      order[places[part][cell]++] = static_cast<uint32_t>(example);
    });
  });
  uint64_t begin = 0;
  for (uint32_t leaf = 0; leaf < leaves.size(); ++leaf) {
    const std::span own = std::span(ends).subspan(leaf * groups.size(), groups.size());
    add_leaf(leaf, begin, own);
    begin = own.back();
  }
  parallel_for(cells.size(), threads, [&](size_t cell) { shuffle(cells[cell]); });
}

// `ends`: of the leaf's examples in `order`, by group.
void Sampler::Impl::add_leaf(uint32_t leaf, uint64_t begin, std::span<const uint64_t> ends) {
  std::vector<uint64_t> parts;
  std::vector<std::pair<uint32_t, Segment>> segments;
  for (uint32_t group = 0; group < ends.size(); begin = ends[group++]) {
    if (ends[group] == begin) continue;
    const auto part = static_cast<uint32_t>(parts.size());
    parts.push_back(ends[group] - begin);
    segments.push_back({group, {leaf, part, parts.back(), begin}});
  }
  const double pass = static_cast<double>(pass_draws) * leaves[leaf].share;
  quotas.emplace_back(pass, parts, RandomStream(seed, Purpose::kLeafPhase, leaf).next64());
  for (const auto& [group, segment] : segments) {
    streams[group].add(segment);
    const double images = static_cast<double>(segment.images);
    cells.push_back({leaf, group, segment.offset, segment.offset + segment.images,
                     quotas.back().multiplier() * images});
  }
}

void Sampler::Impl::shuffle(const Cell& cell) {
  uint64_t state =
      RandomStream(seed, Purpose::kLeafOrder, uint64_t{cell.leaf} << 32 | cell.group).next64();
  uint32_t* examples = order.data() + cell.begin;
  for (uint64_t left = cell.end - cell.begin; left > 1; --left) {
    // 64 bits for numbers below 2^32: the bias is at most 2^-32.
    const auto other = static_cast<uint64_t>((uint128{mix_bits(state++)} * left) >> 64);
    std::swap(examples[left - 1], examples[other]);
  }
}

void Sampler::Impl::deal_steps() {
  double total = 0;
  for (const BucketStream& stream : streams) total += stream.pass_share();
  std::vector<uint64_t> weights;
  for (const BucketStream& stream : streams) {
    shares.push_back(stream.pass_share() / total);
    const auto weight = static_cast<uint64_t>(shares.back() * 0x1p61);
    weights.push_back(std::max<uint64_t>(weight, stream.pass_share() > 0));
  }
  turns.emplace(weights);
}

size_t Sampler::Impl::cell_of(uint32_t example) const {
  const auto place = static_cast<uint64_t>(std::ranges::find(order, example) - order.begin());
  if (place == order.size()) throw std::logic_error("an example that is never drawn");
  const auto found = std::ranges::upper_bound(cells, place, {}, &Cell::end);
  return static_cast<size_t>(found - cells.begin());
}

std::vector<uint32_t> Sampler::Impl::substitutes(const Draw& draw) const {
  constexpr uint64_t kMost = 1000;  // of each kind
  RandomStream random(seed, Purpose::kSubstitute, draw.number);
  std::vector<uint32_t> found;
  const Cell& own = cells[cell_of(draw.example)];
  const uint64_t size = own.end - own.begin, first = random.below(size);
  for (uint64_t i = 0; i < std::min(size, kMost); ++i)
    found.push_back(order[own.begin + (first + i) % size]);
  std::vector<const Cell*> group;
  std::vector<double> sums;
  for (const Cell& cell : cells) {
    if (cell.group != own.group) continue;
    group.push_back(&cell);
    sums.push_back((sums.empty() ? 0 : sums.back()) + cell.share);
  }
  for (uint64_t i = 0; i < kMost; ++i) {
    const auto above = std::ranges::upper_bound(sums, random.uniform() * sums.back());
    const Cell& cell = *group[std::min<size_t>(above - sums.begin(), group.size() - 1)];
    found.push_back(order[cell.begin + random.below(cell.end - cell.begin)]);
  }
  std::erase(found, draw.example);
  return found;
}

double Sampler::Impl::passes(uint64_t steps) const {
  return static_cast<double>(steps) * static_cast<double>(global_batch) /
         static_cast<double>(pass_draws);
}

void Sampler::Impl::warn_of_passes(Texts& warnings) const {
  if (!pass_capped) return;
  warnings.push_back(fmt::format(
      "the rarest image's share is below 1 in {}: it is not drawn in every pass", kMaxPassDraws));
}

std::string Sampler::Impl::name_of(size_t group, const StoreManifest& manifest) const {
  const auto& [bucket, family] = groups[group];
  std::string name = bucket < manifest.buckets.size() ? to_string(manifest.buckets[bucket])
                                                      : fmt::format("{}", bucket);
  if (!family.empty()) name += fmt::format(" of batch_id \"{}\"", family);
  return name;
}

void Sampler::Impl::warn_of_groups(uint64_t steps, const StoreManifest& manifest,
                                   Texts& warnings) const {
  for (size_t i = 0; i < groups.size(); ++i) {
    const uint64_t images = streams[i].images();
    if (images == 0) continue;
    if (turns->count(i, steps) == 0) {
      warnings.push_back(fmt::format("bucket {} starves: with {} it comes in no step of the run",
                                     name_of(i, manifest), counted(images, "image")));
    } else if (images < global_batch) {
      warnings.push_back(fmt::format(
          "bucket {} starves: it has {} for a global batch of {}, so they repeat within its steps "
          "({:.3g} % of all steps); a smaller global batch or fewer bucket sizes help",
          name_of(i, manifest), counted(images, "image"), global_batch, 100 * shares[i]));
    }
  }
}

Sampler::Impl::Texts Sampler::Impl::rare_folders(uint64_t steps,
                                                 const StoreManifest& manifest) const {
  Texts lines;
  for (size_t i = 0; i < leaves.size(); ++i) {
    const double views = quotas[i].multiplier() * passes(steps);
    if (views >= 1) continue;
    const uint32_t category = leaves[i].category;
    const std::string name = category < manifest.categories.size()
                                 ? manifest.categories[category].path
                                 : fmt::format("{}", category);
    lines.push_back(fmt::format(
        "folder \"{}\": the run draws each of {} {:.2g} times on average, so some never", name,
        counted(leaves[i].images, "image"), views));
  }
  return lines;
}

Sampler::Sampler(const Examples& examples, const Mixture& mixture, const SamplerOptions& options)
    : impl_(std::make_unique<Impl>(examples, mixture, options)) {}
Sampler::Sampler(Sampler&&) noexcept = default;
Sampler::~Sampler() = default;

std::vector<Draw> Sampler::step(uint64_t step) {
  const Interleave::Turn turn = impl_->turns->at(step);
  const uint64_t count = impl_->global_batch;
  impl_->places.resize(count);
  impl_->streams[turn.part].read(turn.index * count, impl_->places);
  std::vector<Draw> draws(count);
  for (uint64_t i = 0; i < count; ++i) {
    const BucketStream::Place& place = impl_->places[i];
    draws[i] = {step * count + i, place.pass, impl_->order[place.example],
                impl_->groups[turn.part].bucket};
  }
  return draws;
}

std::vector<uint32_t> Sampler::substitutes(const Draw& draw) const {
  return impl_->substitutes(draw);
}

uint64_t Sampler::global_batch() const { return impl_->global_batch; }
uint64_t Sampler::pass_draws() const { return impl_->pass_draws; }
const std::vector<Group>& Sampler::groups() const { return impl_->groups; }
const std::vector<double>& Sampler::group_share() const { return impl_->shares; }

std::vector<std::string> Sampler::warnings(uint64_t steps, const StoreManifest& manifest) const {
  std::vector<std::string> warnings;
  impl_->warn_of_passes(warnings);
  impl_->warn_of_groups(steps, manifest, warnings);
  return warnings;
}

std::vector<std::string> Sampler::rare_folders(uint64_t steps,
                                               const StoreManifest& manifest) const {
  return shortened(impl_->rare_folders(steps, manifest), "folders that are drawn so rarely");
}

}  // namespace kessoku::data
