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

/// The buckets of EveryDream2, the square first; its misprints are corrected
/// (data/images/bucket.cpp names them). For a resolution that it has no table for, sides divisible
/// by 64: for each height down to half the resolution the widest with at most resolution² pixels,
/// and the same turned. Below 256 (multiples of 32; small models) sides divisible by 16: one height
/// for each width from half to twice the resolution, the tallest with at most resolution² pixels.
/// Throws UsageError for a resolution without a table.
std::vector<Bucket> bucket_table(int64_t resolution);

/// The buckets of EveryDream1: at 512 four more than EveryDream2's, elsewhere the same.
std::vector<Bucket> everydream1_buckets(int64_t resolution);

/// The buckets of kohya's scripts with their defaults, in their order: every width from 256 to 1024
/// (or to the resolution, if that is more) in steps of 64, the tallest height that keeps
/// resolution² pixels, and the same turned. Throws UsageError for a resolution that is no multiple
/// of 64 from 256 on.
std::vector<Bucket> kohya_buckets(int64_t resolution);

/// The buckets that --buckets names: "everydream", "everydream1", "kohya", a list
/// "512x512,640x384", or a file that holds one, by commas or lines. Throws UsageError naming the
/// part that is wrong.
std::vector<Bucket> parse_buckets(const std::string& text, int64_t resolution);

/// Index of the bucket of exactly this size, or else of that with the least |w/h − W/H|; ties go to
/// the first, as EveryDream and kohya do.
size_t nearest_bucket(const std::vector<Bucket>& table, int64_t width, int64_t height);

}  // namespace kessoku::data
