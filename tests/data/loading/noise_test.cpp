#include "data/loading/noise.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/std.h>
#include <ATen/ops/upsample_bilinear2d.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <cmath>

#include "base/random.h"

namespace kessoku::data {
namespace {

constexpr uint64_t kSeed = 555;

at::Tensor noise_of(uint64_t draw, int64_t c, int64_t h, int64_t w, const NoiseOptions& options) {
  at::Tensor noise = at::empty({c, h, w}, at::kFloat);
  fill_noise(kSeed, draw, {c, h, w}, options,
             {noise.data_ptr<float>(), static_cast<size_t>(noise.numel())});
  return noise;
}

at::Tensor normals(RandomStream& random, at::IntArrayRef shape) {
  at::Tensor normals = at::empty(shape, at::kFloat);
  random.fill_normal({normals.data_ptr<float>(), static_cast<size_t>(normals.numel())});
  return normals;
}

double largest_difference(const at::Tensor& a, const at::Tensor& b) {
  return (a - b).abs().max().item<double>();
}

/// kohya's pyramid_noise_like on one image, in torch's operators.
at::Tensor pyramid(at::Tensor noise, RandomStream random, int64_t levels, double discount) {
  const int64_t c = noise.size(0), h = noise.size(1), w = noise.size(2);
  for (int64_t i = 0; i < levels; ++i) {
    const double r = random.uniform() * 2 + 2;
    const auto divisor = std::pow(r, static_cast<double>(i));
    const auto hn = std::max<int64_t>(1, static_cast<int64_t>(static_cast<double>(h) / divisor));
    const auto wn = std::max<int64_t>(1, static_cast<int64_t>(static_cast<double>(w) / divisor));
    const at::Tensor level = normals(random, {1, c, hn, wn});
    noise = noise + at::upsample_bilinear2d(level, {h, w}, /*align_corners=*/false)[0] *
                        std::pow(discount, static_cast<double>(i));
    if (hn == 1 || wn == 1) break;
  }
  return noise / noise.std();
}

TEST(Noise, IsWhiteWithoutOptions) {
  RandomStream random(kSeed, Purpose::kNoise, 3);
  EXPECT_EQ(largest_difference(noise_of(3, 4, 8, 12, {}), normals(random, {4, 8, 12})), 0);
}

TEST(Noise, OffsetShiftsWholeChannels) {
  RandomStream random(kSeed, Purpose::kNoiseOffset, 3);
  const at::Tensor expected = noise_of(3, 4, 8, 12, {}) + 0.1 * normals(random, {4, 1, 1});
  EXPECT_LE(largest_difference(noise_of(3, 4, 8, 12, {.offset = 0.1}), expected), 1e-6);
}

TEST(Noise, PyramidIsThatOfItsFormula) {
  for (const auto& [h, w] : {std::pair{64, 64}, {24, 100}, {5, 7}, {1, 1}, {2, 2}}) {
    for (const int64_t levels : {1, 2, 6, 10}) {
      for (const uint64_t draw : {0, 1, 999}) {
        const at::Tensor expected =
            pyramid(noise_of(draw, 4, h, w, {.offset = 0.05}),
                    RandomStream(kSeed, Purpose::kPyramidNoise, draw), levels, 0.4);
        const NoiseOptions options{
            .offset = 0.05, .pyramid_levels = levels, .pyramid_discount = 0.4};
        EXPECT_LE(largest_difference(noise_of(draw, 4, h, w, options), expected), 1e-5)
            << h << "x" << w << ", " << levels << " levels, draw " << draw;
      }
    }
  }
}

TEST(Noise, HasTheVarianceThatItPromises) {
  const NoiseOptions offset{.offset = 0.5}, deep{.pyramid_levels = 6, .pyramid_discount = 0.8};
  double offset_means = 0, pyramid_means = 0, white_means = 0;
  constexpr int kDraws = 500;
  for (uint64_t draw = 0; draw < kDraws; ++draw) {
    const auto mean_square = [&](const NoiseOptions& options) {
      return noise_of(draw, 4, 16, 16, options).mean({1, 2}).square().mean().item<double>();
    };
    white_means += mean_square({}) / kDraws;
    offset_means += mean_square(offset) / kDraws;
    pyramid_means += mean_square(deep) / kDraws;
    EXPECT_NEAR(noise_of(draw, 4, 16, 16, deep).std().item<double>(), 1, 1e-5);
  }
  EXPECT_NEAR(white_means, 1.0 / 256, 0.001);
  EXPECT_NEAR(offset_means, 0.25 + 1.0 / 256, 0.03);
  EXPECT_GT(pyramid_means, 10 * white_means);  // low frequencies
}

}  // namespace
}  // namespace kessoku::data
