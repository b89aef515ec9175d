#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace kessoku::data {

/// A training size in pixels.
struct Bucket {
  int64_t width;
  int64_t height;
  bool operator==(const Bucket&) const = default;
};

/// "WxH"
std::string to_string(const Bucket& bucket);

/// EveryDream2's table for a resolution that is a multiple of 64 from 256 on. Below 256 (small models): all sizes of sides
/// divisible by 16, from half to twice the resolution, with at most resolution² pixels, one height a width.
/// Throws UsageError for a resolution that has no table.
std::vector<Bucket> bucket_table(int64_t resolution);

/// Index of the bucket with the least |w/h − W/H|; ties go to the first, as EveryDream does.
size_t nearest_bucket(const std::vector<Bucket>& table, int64_t width, int64_t height);

}  // namespace kessoku::data
