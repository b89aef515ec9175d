#pragma once

#include <cstdint>
#include <vector>

#include "data/permutation.h"
#include "data/quota.h"

namespace kessoku::data {

/// The images of one leaf that are in one bucket: places [first, last) of the leaf's order, which
/// keeps the images of a bucket together so that their draws telescope too.
struct Segment {
  uint32_t leaf;  ///< index into the quotas
  uint64_t first;
  uint64_t last;
  uint64_t offset;  ///< of the first one in the sampler's list of examples
};

/// The endless stream of a bucket's draws: its passes, one after another, each in a random order.
/// Any place of it is found without walking there; places in the same or the next pass are found
/// fastest. Not for concurrent use.
class BucketStream {
 public:
  /// Keeps a reference to `leaves`.
  BucketStream(uint64_t seed, uint32_t bucket, const std::vector<Quota>& leaves)
      : leaves_(&leaves), seed_(seed), bucket_(bucket) {}

  void add(const Segment& segment);

  struct Place {
    uint64_t pass;
    uint64_t example;  ///< index into the sampler's list of examples
  };
  /// Needs pass_share() > 0.
  Place at(uint64_t place);

  uint64_t images() const { return images_; }
  /// The mean length of a pass, · 2^64.
  uint128 pass_share() const { return pass_share_; }

 private:
  bool open(uint64_t place) const {
    return place >= begin_ && !sums_.empty() && place - begin_ < sums_.back();
  }
  void find_pass(uint64_t place);
  void open_pass(uint64_t pass, uint64_t begin);
  uint64_t draws_before(uint64_t pass) const;
  uint64_t pass_of(uint64_t place) const;

  const std::vector<Quota>* leaves_;
  uint64_t seed_;
  uint32_t bucket_;
  std::vector<Segment> segments_;
  uint64_t images_ = 0;
  uint128 pass_share_ = 0;

  // The pass that lies open.
  uint64_t pass_ = 0;
  uint64_t begin_ = 0;          // its first place in the stream
  std::vector<uint64_t> sums_;  // its draws of the segments before
  Permutation order_;
};

}  // namespace kessoku::data
