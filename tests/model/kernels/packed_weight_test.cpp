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

/// Those of 3 x 3.
bool has_kernels(const Parameters& parameters) {
  return std::ranges::any_of(parameters, [](const Parameter& parameter) {
    return parameter.tensor.dim() == 4 && parameter.tensor.size(2) > 1;
  });
}

TEST(PackedWeight, FrozenNetworksComputeTheSameAndGiveTheirWeightsUp) {
  const c10::NoGradGuard no_grad;
  at::manual_seed(1);
  for (const auto& [dtype, tolerance] : {std::pair{at::kFloat, 1e-5}, {at::kBFloat16, 3e-2}}) {
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
      EXPECT_FALSE(has_kernels(unet.parameters())) << "memory holds weights twice";
    }
  }
}

TEST(PackedWeight, IsSharedByThreads) {
  UNet unet(small_unet(false));
  for (const Parameter& parameter : unet.parameters()) parameter.tensor.normal_(0, 0.1);
  const at::Tensor sample = at::randn({1, 4, 16, 24}), text = at::randn({1, 77, 48}),
                   time = at::full({1}, 7);
  const auto forward = [&] {
    const c10::NoGradGuard no_grad;
    return unet.forward(sample, time, text);
  };
  const at::Tensor wanted = forward();
  unet.freeze();
  std::vector<at::Tensor> got(4);
  std::vector<std::thread> threads;
  threads.reserve(got.size());
  for (at::Tensor& out : got) threads.emplace_back([&] { out = forward(); });
  for (std::thread& thread : threads) thread.join();
  for (const at::Tensor& out : got) {
    EXPECT_LT(relative_error(out, wanted), 1e-5);
    EXPECT_TRUE(out.equal(got[0]));
  }
}

}  // namespace
}  // namespace kessoku::model
