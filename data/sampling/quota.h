#pragma once

#include <cstdint>
#include <vector>

#include "data/sampling/interleave.h"
#include "data/sampling/uint128.h"

namespace kessoku::data {

/// How often each image of a leaf is drawn in each pass. A leaf is images of one folder: n of them,
/// all of multiplier w. They stand in a circle, and the leaf's draws go round it: pass e takes the
/// draws N(e) … N(e+1)−1, with N(e) = ⌊u + e·n·w⌋ and u in [0, n) the leaf's phase; draw t is of
/// the image at place t modulo n. Therefore
/// - over any passes the leaf's draws differ from their expectation by less than 1, for the sum
///   telescopes;
/// - over any E passes the draws of an image differ from E·w by less than 1: of T draws in a row an
///   image has ⌊T/n⌋ or ⌈T/n⌉, and T/n differs from E·w by less than 1/n.
///
/// The images of a leaf that are in one group, a part of it, are spread evenly over the circle, so
/// that each part's draws are even too.
///
/// n·w is a fixed-point number with 64 fractional bits; everything is exact for it, in integers.
/// The one given as a double differs from what was meant by some 2^-52 of itself, which no run is
/// long enough to show.
class Quota {
 public:
  /// `pass_draws` is n·w; `parts` the number of images in each of the leaf's groups; `random`
  /// decides the phase. A length of a pass within rounding of a whole number is taken as that
  /// number. Needs n·w ≤ kMaxPassDraws.
  Quota(double pass_draws, const std::vector<uint64_t>& parts, uint64_t random);

  /// The images of a part that were drawn: all of them `rounds` times, and the first `begun` of
  /// them once more, in their order on the circle.
  struct Drawn {
    uint64_t rounds;
    uint64_t begun;
  };
  /// What was drawn of part `part` before pass `pass`, counted from the circle's beginning: only
  /// differences between passes mean something.
  Drawn drawn_before(size_t part, uint64_t pass) const;
  /// Images of the part.
  uint64_t images(size_t part) const { return parts_.weight(part); }
  /// Draws of part `part` in the passes [from, to).
  uint64_t draws(size_t part, uint64_t from, uint64_t to) const;
  /// Draws of the whole leaf in a pass on average, · 2^64.
  uint128 pass_draws() const { return uint128{whole_} << 64 | fraction_; }
  /// w
  double multiplier() const;

  static constexpr double kMaxPassDraws = 0x1p60;

 private:
  Interleave parts_;
  uint64_t whole_ = 0;     // ⌊n·w⌋
  uint64_t fraction_ = 0;  // the rest, · 2^64
  uint64_t start_ = 0;     // ⌊u⌋
  uint64_t phase_ = 0;     // the rest of u, · 2^64
};

}  // namespace kessoku::data
