#include "model/kernels/packed_weight.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/abs.h>
#include <ATen/ops/full.h>
#include <ATen/ops/max.h>
#include <ATen/ops/randn.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <thread>

#include "model/networks/unet.h"
#include "model/networks/vae.h"

namespace kessoku::model {
namespace {

/// Attention, both kinds of convolutions, strides and projections.
UNetConfig small_unet(bool linear_projection) {
  UNetConfig config;
  config.block_out_channels = {32, 64};
  config.down_block_types = {"CrossAttnDownBlock2D", "DownBlock2D"};
  config.up_block_types = {"UpBlock2D", "CrossAttnUpBlock2D"};
  config.attention_heads = {4};
  config.cross_attention_dim = 48;
  config.use_linear_projection = linear_projection;
  return config;
}

double relative_error(const at::Tensor& got, const at::Tensor& wanted) {
  return ((got - wanted).to(at::kDouble).abs().max() / wanted.to(at::kDouble).abs().max())
      .item<double>();
}

bool are_read(const Parameters& parameters) {
  return std::ranges::any_of(parameters, [](const Parameter& parameter) {
    return parameter.tensor.dim() >= 2 && parameter.tensor.numel() > 0;
  });
}

struct Precision {
  at::ScalarType dtype;
  double tolerance;
};
constexpr Precision kPrecisions[] = {{at::kFloat, 1e-5}, {at::kBFloat16, 3e-2}};

TEST(PackedWeight, FrozenNetworksComputeTheSameAndGiveTheirWeightsUp) {
  const c10::NoGradGuard no_grad;
  at::manual_seed(1);
  for (const auto& [dtype, tolerance] : kPrecisions) {
    for (const bool linear : {false, true}) {
      UNet unet(small_unet(linear));
      for (const Parameter& parameter : unet.parameters()) parameter.tensor.normal_(0, 0.1);
      convert_parameters(unet.parameters(), dtype);
      const at::Tensor sample = at::randn({2, 4, 16, 24}), text = at::randn({2, 77, 48}),
                       larger = at::randn({1, 4, 32, 32}), time = at::full({2}, 7);
      const auto one = [&] { return unet.forward(sample, time, text); };
      const auto other = [&] {
        return unet.forward(larger, time.narrow(0, 0, 1), text.narrow(0, 0, 1));
      };
      const at::Tensor wanted = one(), wanted_other = other();
      unet.freeze();
      EXPECT_LT(relative_error(one(), wanted), tolerance);
      EXPECT_LT(relative_error(other(), wanted_other), tolerance);  // packed for another size
      EXPECT_TRUE(one().equal(one()));
      EXPECT_FALSE(are_read(unet.parameters())) << "memory holds weights twice";
    }
  }
}

TEST(PackedWeight, IsSharedByThreads) {
  const c10::NoGradGuard no_grad;
  VaeConfig config;
  config.block_out_channels = {32, 64};
  config.down_block_types = {2, "DownEncoderBlock2D"};
  config.up_block_types = {2, "UpDecoderBlock2D"};
  Vae vae(config);
  for (const Parameter& parameter : vae.parameters()) parameter.tensor.normal_(0, 0.1);
  const at::Tensor images = at::randn({1, 3, 48, 64}), wanted = vae.encode(images);
  vae.freeze();
  std::vector<at::Tensor> got(4);
  std::vector<std::thread> threads;
  for (at::Tensor& moments : got) {
    threads.emplace_back([&] {
      const c10::NoGradGuard no_grad_here;
      moments = vae.encode(images);
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const at::Tensor& moments : got) {
    EXPECT_LT(relative_error(moments, wanted), 1e-5);
    EXPECT_TRUE(moments.equal(got[0]));
  }
}

}  // namespace
}  // namespace kessoku::model
