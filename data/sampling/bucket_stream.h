#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "data/sampling/low_discrepancy_order.h"
#include "data/sampling/permutation.h"
#include "data/sampling/quota.h"

namespace kessoku::data {

/// The images of one leaf that are in one group.
struct Segment {
  uint32_t leaf;  ///< index into the quotas
  uint32_t part;  ///< of that leaf
  uint64_t images;
  uint64_t offset;  ///< of the first one in the sampler's list of examples
};

/// The endless stream of a group's draws: its passes, one after another. Any place of it is found
/// without walking there; places in the same or the next pass are found fastest. Not for concurrent
/// use.
///
/// A pass lists its draws leaf by leaf, and in a leaf image by image, in an order of the images
/// that is new in each pass; LowDiscrepancyOrder walks through the list so that at any time each
/// leaf and each image had its share of the draws; last, the draws of each block of kBlock are
/// shuffled, so that what comes together in a step is random.
class BucketStream {
 public:
  static constexpr uint64_t kBlock = 64;

  /// Keeps a reference to `quotas`, which may grow until the first `read`.
  BucketStream(uint64_t seed, uint32_t group, const std::vector<Quota>& quotas)
      : quotas_(&quotas), seed_(seed), group_(group) {}

  void add(const Segment& segment);

  struct Place {
    uint64_t pass;
    uint64_t example;  ///< index into the sampler's list of examples
  };
  /// The draws from place `first` on. Needs pass_share() > 0.
  void read(uint64_t first, std::span<Place> out);

  uint64_t images() const { return images_; }
  /// The mean length of a pass.
  double pass_share() const { return pass_share_; }

 private:
  // Where a place leads: an image of a segment, or one of those that are drawn once more.
  struct Target {
    size_t segment;
    bool extra;
  };

  bool open(uint64_t place) const {
    return place >= begin_ && !sums_.empty() && place - begin_ < sums_.back();
  }
  void find_pass(uint64_t place);
  void open_pass(uint64_t pass, uint64_t begin);
  void open_block(uint64_t block);
  uint64_t draws(uint64_t from, uint64_t to) const;  // in the passes [from, to)
  uint64_t pass_of(uint64_t place) const;
  void read_chunk(uint64_t first, std::span<Place> out);
  Target target(uint64_t place, Permutation::Item& item);
  RandomStream random(Purpose purpose, uint64_t index) const;

  const std::vector<Quota>* quotas_;
  uint64_t seed_;
  uint32_t group_;
  std::vector<Segment> segments_;
  uint64_t images_ = 0;
  uint64_t largest_ = 0;  // segment
  double pass_share_ = 0;

  // The pass and the block of it that lie open.
  uint64_t pass_ = 0;
  uint64_t begin_ = 0;            // its first place in the stream
  std::vector<uint64_t> sums_;    // its draws of the segments before
  std::vector<uint64_t> extras_;  // by segment: the first image that is drawn once more
  std::optional<LowDiscrepancyOrder> spread_;
  Permutation order_;  // of the images of a segment
  uint64_t salt_ = 0;
  std::optional<uint64_t> block_;
  std::array<uint8_t, kBlock> in_block_{};
};

}  // namespace kessoku::data
