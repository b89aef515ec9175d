// What networks promise beside their numbers: devices, types, and configs that they refuse.
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/sum.h>
#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "model/networks/init.h"
#include "model/networks/meta_kernels.h"
#include "model/networks/text_encoder.h"
#include "model/networks/unet.h"
#include "model/networks/vae.h"

namespace kessoku::model {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

/// Runs backward, and expects gradients of every parameter where the parameters are.
void expect_gradients_on(at::Device device, const Parameters& parameters,
                         const std::function<at::Tensor()>& forward, at::IntArrayRef shape) {
  for (const Parameter& parameter : parameters) {
    ASSERT_EQ(parameter.tensor.device(), device) << parameter.name;
    parameter.tensor.set_requires_grad(true);
  }
  const at::Tensor output = forward();
  EXPECT_EQ(output.device(), device);
  EXPECT_EQ(output.sizes(), shape);
  output.sum().backward();
  for (const auto& [name, tensor] : parameters) {
    ASSERT_TRUE(tensor.grad().defined()) << name;
    EXPECT_EQ(tensor.grad().device(), device) << name;
    EXPECT_EQ(tensor.grad().sizes(), tensor.sizes()) << name;
  }
}

// The meta device computes shapes alone, and refuses to work with a tensor of another device: what
// a network made on the host by mistake would be found here, and at the size of the real thing.
TEST(Networks, KeepToTheirDeviceForwardAndBackward) {
  register_meta_kernels();
  const at::Device meta = at::kMeta;
  const auto empty = [&](at::IntArrayRef shape, at::ScalarType dtype = at::kFloat) {
    return at::empty(shape, at::TensorOptions(dtype).device(meta));
  };
  for (const bool checkpointing : {false, true}) {
    UNet unet(UNetConfig{}, meta);
    unet.set_gradient_checkpointing(checkpointing);
    expect_gradients_on(
        meta, unet.parameters(),
        [&] {
          return unet.forward(empty({2, 4, 64, 96}), empty({2}, at::kLong), empty({2, 77, 768}));
        },
        {2, 4, 64, 96});
    TextEncoder encoder(TextEncoderConfig{}, meta);
    encoder.set_gradient_checkpointing(checkpointing);
    expect_gradients_on(meta, encoder.parameters(),
                        [&] {
                          return encoder.forward(empty({2, 77}, at::kLong));
                        },
                        {2, 77, 768});
    Vae vae(VaeConfig{}, meta);
    vae.set_gradient_checkpointing(checkpointing);
    expect_gradients_on(meta, vae.parameters(),
                        [&] {
                          return vae.decode(vae.encode(empty({1, 3, 512, 384})).narrow(1, 0, 4));
                        },
                        {1, 3, 512, 384});
  }
}

UNetConfig small_unet() {
  UNetConfig config;
  config.block_out_channels = {32, 64};
  config.down_block_types = {"CrossAttnDownBlock2D", "DownBlock2D"};
  config.up_block_types = {"UpBlock2D", "CrossAttnUpBlock2D"};
  config.layers_per_block = {1};
  config.cross_attention_dim = 16;
  return config;
}

TEST(Networks, ComputeInTheTypeOfTheirWeights) {
  const UNet unet(small_unet());
  initialize_weights(unet.parameters(), Network::kUNet, 1);
  const at::Tensor sample = at::randn({1, 4, 8, 8}), text = at::randn({1, 7, 16});
  const at::Tensor timestep = at::arange(1);
  const at::Tensor exact = unet.forward(sample, timestep, text);
  convert_parameters(unet.parameters(), at::kBFloat16);
  for (const auto& [name, tensor] : unet.parameters()) {
    EXPECT_EQ(tensor.scalar_type(), at::kBFloat16) << name;
  }
  const at::Tensor rounded = unet.forward(sample, timestep, text);
  EXPECT_EQ(rounded.scalar_type(), at::kBFloat16);
  const double error = (rounded.to(at::kFloat) - exact).abs().max().item<double>();
  EXPECT_GT(error, 0);
  EXPECT_LT(error, 0.05 * exact.abs().max().item<double>());
}

TEST(UNetConfig, RefusesByNameWhatWouldBeAnotherNetwork) {
  const std::vector<std::pair<std::string, nlohmann::json>> others{
      {"act_fn", "gelu"},
      {"addition_embed_type", "text_time"},
      {"attention_head_dim", {8, 8, 8}},
      {"attention_type", "gated"},
      {"block_out_channels", {32, 40, 64, 64}},
      {"center_input_sample", true},
      {"class_embed_type", "timestep"},
      {"conv_in_kernel", 1},
      {"cross_attention_dim", {768, 768, 768, 1024}},
      {"down_block_types", {"AttnDownBlock2D", "DownBlock2D", "DownBlock2D", "DownBlock2D"}},
      {"downsample_padding", 0},
      {"dropout", 0.1},
      {"dual_cross_attention", true},
      {"encoder_hid_dim", 1024},
      {"layers_per_block", {2, 2}},
      {"mid_block_scale_factor", 1.5},
      {"mid_block_type", "UNetMidBlock2DSimpleCrossAttn"},
      {"num_attention_heads", 8},
      {"num_class_embeds", 1000},
      {"only_cross_attention", {true, true, true, false}},
      {"resnet_time_scale_shift", "scale_shift"},
      {"sample_size", {64, 64, 64}},
      {"time_cond_proj_dim", 256},
      {"time_embedding_type", "fourier"},
      {"transformer_layers_per_block", {{1, 1}, 1, 1, 1}},
  };
  for (const auto& [key, value] : others) {
    nlohmann::json config = UNetConfig{}.to_json();
    config[key] = value;
    EXPECT_THAT([&] { UNetConfig::from_json(config, "unet/config.json"); },
                ThrowsMessage<DataError>(AllOf(HasSubstr("unet/config.json"), HasSubstr(key))))
        << key;
  }
}

TEST(UNetConfig, HasDiffusersDefaultsAndOldNames) {
  nlohmann::json config{{"_class_name", "UNet2DConditionModel"},
                        {"sample_size", nullptr},
                        {"upcast_attention", nullptr},
                        {"down_block_types",
                         {"UNetResCrossAttnDownBlock2D", "CrossAttnDownBlock2D",
                          "CrossAttnDownBlock2D", "UNetResDownBlock2D"}}};
  const UNetConfig read = UNetConfig::from_json(config, "config.json");
  EXPECT_EQ(read.cross_attention_dim, 1280);
  EXPECT_EQ(read.down_block_types, UNetConfig{}.down_block_types);
  EXPECT_EQ(read.mid_block_type, UNetConfig{}.mid_block_type);
}

TEST(VaeConfig, RefusesByNameWhatWouldBeAnotherNetwork) {
  const std::vector<std::pair<std::string, nlohmann::json>> others{
      {"act_fn", "gelu"},
      {"down_block_types", {"DownEncoderBlock2D"}},
      {"latents_mean", {0, 0, 0, 0}},
      {"layers_per_block", {2, 2}},
      {"norm_num_groups", 48},
      {"scaling_factor", 0},
      {"shift_factor", 0.1},
      {"up_block_types", {"UpBlock2D", "UpBlock2D", "UpBlock2D", "UpBlock2D"}},
  };
  for (const auto& [key, value] : others) {
    nlohmann::json config = VaeConfig{}.to_json();
    config[key] = value;
    const std::string named = key == "norm_num_groups" ? "block_out_channels" : key;
    EXPECT_THAT([&] { VaeConfig::from_json(config, "vae/config.json"); },
                ThrowsMessage<DataError>(AllOf(HasSubstr("vae/config.json"), HasSubstr(named))))
        << key;
  }
}

}  // namespace
}  // namespace kessoku::model
