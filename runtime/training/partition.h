#pragma once

#include <cstdint>
#include <vector>

namespace kessoku::runtime {

/// Elements [begin, end) of a flat buffer.
struct Range {
  int64_t begin, end;
  int64_t size() const { return end - begin; }
};

/// How a flat buffer is cut: into buckets of equal length (the last may be shorter), which travel
/// one by one while backward runs, and each bucket into `parts` equal parts, one an owner (ZeRO-1,
/// Rajbhandari et al., 2020). Every boundary is a multiple of kAlignment elements, so that kernels
/// see the same alignment in every run, and sums of squares are over the same blocks on any number
/// of ranks.
class Partition {
 public:
  static constexpr int64_t kAlignment = 1024;

  /// Over at least `numel` elements, in buckets of about `bucket_numel`.
  Partition(int64_t numel, int64_t bucket_numel, int parts);

  /// `numel` rounded up so that it divides as said.
  int64_t numel() const { return numel_; }
  int parts() const { return parts_; }
  size_t buckets() const;
  Range bucket(size_t index) const;
  /// The bucket that element `position` is in.
  size_t bucket_of(int64_t position) const;
  /// What `owner` owns of a bucket.
  Range part(size_t index, int owner) const;
  /// All that `owner` owns, a range a bucket; everything if `owner` is kEverybody.
  static constexpr int kEverybody = -1;
  std::vector<Range> owned_by(int owner) const;

 private:
  int parts_;
  int64_t numel_, bucket_numel_;
};

/// Elements of all ranges together.
int64_t total_size(const std::vector<Range>& ranges);

}  // namespace kessoku::runtime
