// A store of random moments and images, written without any dataset: for the loader's tests.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include "base/random.h"
#include "data/images/crop.h"
#include "data/store/shard_writer.h"
#include "tests/temporary_folder.h"

namespace kessoku::data {

/// Folders "a" (16 images, dropout left to the run), "never" (8, dropout 0, loss scale 0.5) and
/// "always" (8, dropout 1) in two buckets. Moments of 4 latent channels at an eighth of the size;
/// all log-variances are those of a standard deviation of 0.5.
class TestStore {
 public:
  static constexpr double kScale = 0.25;
  static constexpr float kLogVariance = -1.3862944f;  // 2 ln 0.5

  /// `flip`: of folder "never".
  explicit TestStore(const std::vector<Kind>& kept, int64_t variants = 1,
                     std::optional<double> flip = {}) {
    StoreManifest manifest;
    manifest.created_by = "test";
    manifest.resolution = 32;
    manifest.kept = kept;
    manifest.encoder = {.digest = "test", .scaling_factor = kScale};
    manifest.buckets = {{32, 32}, {64, 16}};
    manifest.categories = {{.path = "."}, {.path = "a"}, {.path = "always"}, {.path = "never"}};
    manifest.settings = {{}, {.caption_dropout = 1.0}, {.caption_dropout = 0.0, .loss_scale = 0.5}};
    manifest.settings[2].flip = flip;
    ShardLayout layout{kept, variants, {}};
    for (const Bucket& bucket : manifest.buckets)
      layout.groups.push_back({bucket, kRows, shapes(bucket, kept)});
    ShardWriter writer(shard(), layout);
    for (size_t g = 0; g < layout.groups.size(); ++g) {
      for (uint32_t r = 0; r < kRows; ++r) {
        for (const auto& [kind, shape] : layout.groups[g].shapes) {
          for (int64_t v = 0; v < variants; ++v)
            write_row(writer, g, r, static_cast<uint32_t>(g) * kRows + r, kind, v, shape);
        }
      }
    }
    manifest.shards.push_back(writer.finish(
        {infos(manifest.buckets[0], 0, variants), infos(manifest.buckets[1], kRows, variants)}));
    manifest.write(path());
  }

  std::filesystem::path path() const { return folder_.path(); }
  std::filesystem::path shard() const { return folder_.path() / "shard-00000.h5"; }

 private:
  static constexpr uint32_t kRows = 16;

  static uint32_t category_of(uint32_t example) {
    if (example % 4 < 2) return 1;
    return example % 4 == 2 ? 2 : 3;
  }

  static std::vector<RowInfo> infos(const Bucket& bucket, uint32_t first, int64_t variants) {
    std::vector<RowInfo> rows;
    for (uint32_t i = first; i < first + kRows; ++i) {
      RowInfo row;
      row.caption = fmt::format("image {}, Bfan2, tag1, tag2, tag3", i);
      row.source = fmt::format("{:02}.png", i);
      row.category = category_of(i);
      row.settings = row.category - 1;
      row.provenance = {
          static_cast<uint32_t>(bucket.width), static_cast<uint32_t>(bucket.height), {}, i};
      for (int64_t v = 0; variants > 1 && v < variants; ++v)
        row.variants.push_back({{}, is_mirrored(v)});
      rows.push_back(row);
    }
    return rows;
  }

  static std::map<Kind, std::vector<int64_t>> shapes(const Bucket& bucket,
                                                     const std::vector<Kind>& kept) {
    const std::map<Kind, std::vector<int64_t>> all{
        {Kind::kImages, {3, bucket.height, bucket.width}},
        {Kind::kLatents, {4, bucket.height / 8, bucket.width / 8}},
        {Kind::kMoments, {8, bucket.height / 8, bucket.width / 8}}};
    std::map<Kind, std::vector<int64_t>> shapes;
    for (const Kind kind : kept) shapes[kind] = all.at(kind);
    return shapes;
  }

  static void write_row(ShardWriter& writer, size_t group, uint32_t row, uint32_t example,
                        Kind kind, int64_t variant, const std::vector<int64_t>& shape) {
    const auto size = static_cast<size_t>(shape[0] * shape[1] * shape[2]);
    RandomStream random(7, Purpose::kInitialLatents, example);
    if (kind == Kind::kImages) {
      std::vector<uint8_t> pixels(size);
      for (uint8_t& pixel : pixels) pixel = static_cast<uint8_t>(random.next());
      writer.write(group, row, kind, variant, std::as_bytes(std::span(pixels)));
      return;
    }
    std::vector<float> values(size);
    random.fill_normal(values);
    std::vector<at::Half> halves(values.begin(), values.end());
    if (kind == Kind::kMoments)
      std::fill(halves.begin() + size / 2, halves.end(), at::Half(kLogVariance));
    // So that a batch tells which one was read.
    if (variant > 0) std::fill(halves.begin(), halves.end(), at::Half(static_cast<float>(variant)));
    writer.write(group, row, kind, variant, std::as_bytes(std::span(halves)));
  }

  tests::TemporaryFolder folder_;
};

}  // namespace kessoku::data
