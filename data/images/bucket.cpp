#include "data/images/bucket.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>

#include "base/error.h"
#include "base/folder.h"
#include "base/text_file.h"

namespace kessoku::data {

namespace {

constexpr uint64_t kMostListBytes = 1 << 20;
constexpr int64_t kSmallest = 32;
constexpr int64_t kLargest = 4096;
constexpr int64_t kStep = 64;  ///< what SD 1.x needs: 8 in the VAE, 8 in the UNet

/// Width and height of EveryDream2's buckets, each but the square also turned. Corrected: at 320 it
/// turns 576x128 to 576x640, at 1280 1408x1152 to 1408x1344, at 1408 (a table that it never uses)
/// 2816x704 to 704x3072; at 960 it has 1680x576, which no UNet takes.
using Table = std::vector<Bucket>;
const Table kEveryDream2[] = {
    {{256, 256}, {384, 192}, {512, 128}},
    {{320, 320}, {384, 256}, {448, 192}, {576, 128}},
    {{384, 384}, {448, 320}, {512, 256}, {704, 192}},
    {{448, 448}, {512, 384}, {640, 320}, {768, 256}},
    {{512, 512}, {576, 448}, {640, 384}, {768, 320}, {896, 256}, {1024, 256}},
    {{576, 576}, {640, 512}, {704, 448}, {832, 384}, {960, 320}, {1152, 256}},
    {{640, 640},
     {704, 576},
     {768, 512},
     {832, 448},
     {896, 448},
     {1024, 384},
     {1152, 320},
     {1280, 320}},
    {{704, 704},
     {768, 640},
     {832, 576},
     {960, 512},
     {1088, 448},
     {1152, 384},
     {1280, 384},
     {1280, 320}},
    {{768, 768},
     {832, 704},
     {896, 640},
     {960, 576},
     {1024, 576},
     {1152, 512},
     {1280, 448},
     {1408, 384},
     {1472, 320}},
    {{832, 832},
     {896, 768},
     {960, 704},
     {1024, 640},
     {1152, 576},
     {1216, 512},
     {1344, 512},
     {1536, 448},
     {1600, 384}},
    {{896, 896}, {1024, 768}, {1088, 704}, {1216, 640}, {1344, 576}, {1536, 512}, {1792, 448}},
    {{960, 960},
     {1088, 832},
     {1152, 768},
     {1280, 704},
     {1408, 640},
     {1600, 576},
     {1792, 512},
     {2048, 448}},
    {{1024, 1024},
     {1152, 896},
     {1216, 832},
     {1344, 768},
     {1472, 704},
     {1600, 640},
     {1792, 576},
     {2048, 512}},
    {{1088, 1088},
     {1152, 1024},
     {1216, 896},
     {1408, 832},
     {1536, 768},
     {1664, 704},
     {1792, 640},
     {2048, 576},
     {2304, 512}},
    {{1152, 1152},
     {1280, 1024},
     {1344, 960},
     {1472, 896},
     {1536, 832},
     {1728, 768},
     {1856, 704},
     {2048, 640},
     {2304, 576}},
    {{1280, 1280},
     {1408, 1152},
     {1600, 1024},
     {1792, 896},
     {1920, 832},
     {2112, 768},
     {2304, 704},
     {2560, 640}},
    {{1408, 1408},
     {1536, 1280},
     {1664, 1152},
     {1920, 1024},
     {2048, 960},
     {2368, 832},
     {2560, 768},
     {2816, 704}},
    {{1536, 1536},
     {1728, 1344},
     {1792, 1280},
     {2048, 1152},
     {2304, 1024},
     {2432, 960},
     {2624, 896},
     {2816, 832},
     {3072, 768}},
};
const Table kEveryDream1Of512{{512, 512}, {576, 448}, {640, 384}, {768, 320},
                              {832, 256}, {896, 256}, {960, 256}, {1024, 256}};

int64_t round_down(int64_t value, int64_t step) { return value / step * step; }

Table with_turned(const Table& wide) {
  Table table{wide.front()};
  for (size_t i = 1; i < wide.size(); ++i) {
    table.insert(table.end(), {wide[i], {wide[i].height, wide[i].width}});
  }
  return table;
}

/// From square to 4:1: for each height the widest that keeps the area.
Table equal_area_table(int64_t resolution) {
  Table wide{{resolution, resolution}};
  for (int64_t side = resolution - kStep; side >= resolution / 2; side -= kStep) {
    wide.push_back({round_down(resolution * resolution / side, kStep), side});
  }
  return with_turned(wide);
}

/// Small models see few pixels: every width from half to twice the resolution, finely stepped.
Table small_table(int64_t resolution) {
  constexpr int64_t kFine = 16;
  Table table{{resolution, resolution}};
  for (int64_t width = resolution / 2; width <= resolution * 2; width += kFine) {
    const int64_t height = round_down(resolution * resolution / width, kFine);
    if (width != resolution) table.push_back({width, height});
  }
  return table;
}

/// `text` as "WxH".
Bucket parse_bucket_size(const std::string& text) {
  Bucket bucket{};
  const char* end = text.data() + text.size();
  const auto [cross, error] = std::from_chars(text.data(), end, bucket.width);
  bool good = error == std::errc() && cross != end && *cross == 'x';
  if (good) {
    const auto [rest, wrong] = std::from_chars(cross + 1, end, bucket.height);
    good = wrong == std::errc() && rest == end;
  }
  const auto fits = [](int64_t side) {
    return side >= kSmallest && side <= kLargest && side % 8 == 0;
  };
  if (!good || !fits(bucket.width) || !fits(bucket.height)) {
    throw UsageError(fmt::format(
        "--buckets: '{}' is no size; write everydream, everydream1, kohya, or a list such as "
        "512x512,640x384 (sides divisible by 8, from {} to {})",
        text, kSmallest, kLargest));
  }
  return bucket;
}

}  // namespace

std::string to_string(const Bucket& bucket) {
  return fmt::format("{}x{}", bucket.width, bucket.height);
}

std::vector<Bucket> bucket_table(int64_t resolution) {
  const bool small = resolution < 256;
  const int64_t step = small ? 32 : kStep;  // half of a small resolution is a side too
  if (resolution < kSmallest || resolution > kLargest || resolution % step != 0) {
    const int64_t near = std::clamp(round_down(resolution + step / 2, step), kSmallest, kLargest);
    throw UsageError(fmt::format(
        "resolution {} has no bucket table: take a multiple of 64 from 256 to {} (or of 32 "
        "from {} on, for small models), e.g. {}",
        resolution, kLargest, kSmallest, near));
  }
  if (small) return small_table(resolution);
  for (const Table& wide : kEveryDream2) {
    if (wide.front().width == resolution) return with_turned(wide);
  }
  return equal_area_table(resolution);
}

std::vector<Bucket> everydream1_buckets(int64_t resolution) {
  return resolution == 512 ? with_turned(kEveryDream1Of512) : bucket_table(resolution);
}

std::vector<Bucket> kohya_buckets(int64_t resolution) {
  constexpr int64_t kMin = 256;
  if (resolution < kMin || resolution > kLargest || resolution % kStep != 0) {
    throw UsageError(fmt::format(
        "kohya's buckets need a resolution that is a multiple of {} from {} to {}, not {}", kStep,
        kMin, kLargest, resolution));
  }
  const int64_t max = std::max<int64_t>(1024, resolution);
  Table table{{resolution, resolution}};
  for (int64_t width = kMin; width <= max; width += kStep) {
    const int64_t height = std::min(max, round_down(resolution * resolution / width, kStep));
    if (height >= kMin) table.insert(table.end(), {{width, height}, {height, width}});
  }
  const auto in_order = [](const Bucket& a, const Bucket& b) {
    return std::pair(a.width, a.height) < std::pair(b.width, b.height);
  };
  std::ranges::sort(table, in_order);
  const auto [first, last] = std::ranges::unique(table);
  table.erase(first, last);
  return table;
}

std::vector<Bucket> parse_buckets(const std::string& text, int64_t resolution) {
  if (text == "everydream" || text == "everydream2") return bucket_table(resolution);
  if (text == "everydream1") return everydream1_buckets(resolution);
  if (text == "kohya") return kohya_buckets(resolution);
  const bool in_file = is_file(text);
  const std::string list = in_file ? read_utf8_file(text, kMostListBytes) : text;
  const std::string ends = in_file ? ",\n" : ",";
  Table table;
  for (size_t begin = 0; begin <= list.size();) {
    const size_t end = std::min(list.find_first_of(ends, begin), list.size());
    const size_t first = std::min(list.find_first_not_of(" \t\r", begin), end);
    std::string part = list.substr(first, end - first);
    part.erase(part.find_last_not_of(" \t\r") + 1);
    begin = end + 1;
    if (in_file && part.empty()) continue;
    table.push_back(parse_bucket_size(part));
    if (std::ranges::count(table, table.back()) > 1) {
      throw UsageError(fmt::format("--buckets: {} stands there twice", part));
    }
  }
  if (table.empty()) throw UsageError(fmt::format("--buckets: {}: names no size", text));
  return table;
}

size_t nearest_bucket(const std::vector<Bucket>& table, int64_t width, int64_t height) {
  const auto exact = std::ranges::find(table, Bucket{width, height});
  if (exact != table.end()) return static_cast<size_t>(exact - table.begin());
  const auto aspect = [](int64_t w, int64_t h) {
    return static_cast<double>(w) / static_cast<double>(h);
  };
  const double wanted = aspect(width, height);
  size_t best = 0;
  double least = HUGE_VAL;
  for (size_t i = 0; i < table.size(); ++i) {
    const double distance = std::abs(wanted - aspect(table[i].width, table[i].height));
    if (distance < least) {
      least = distance;
      best = i;
    }
  }
  return best;
}

}  // namespace kessoku::data
