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

/// The sizes that images are brought to, the square first. From 256 on (multiples of 64): sides
/// divisible by 64, for each height down to half the resolution the widest with at most resolution²
/// pixels, and the same turned; at 512 that is EveryDream2's table. Below 256 (multiples of 32;
/// small models): sides divisible by 16, one height for each width from half to twice the
/// resolution, the tallest with at most resolution² pixels. Throws UsageError for a resolution
/// without a table.
std::vector<Bucket> bucket_table(int64_t resolution);

/// Index of the bucket with the least |w/h − W/H|; ties go to the first, as EveryDream does.
size_t nearest_bucket(const std::vector<Bucket>& table, int64_t width, int64_t height);

}  // namespace kessoku::data
