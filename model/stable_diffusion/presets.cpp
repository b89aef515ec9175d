#include "model/stable_diffusion/presets.h"

#include "base/error.h"

namespace kessoku::model {

namespace {

Preset tiny() {
  Preset preset;
  preset.unet.sample_size = {8, 8};
  preset.unet.in_channels = 16;
  preset.unet.out_channels = 16;
  // Attention at 4×4 only: at 8×8 it costs half the speed, and learns no better in the time of the
  // demo.
  preset.unet.down_block_types = {"DownBlock2D", "CrossAttnDownBlock2D"};
  preset.unet.up_block_types = {"CrossAttnUpBlock2D", "UpBlock2D"};
  preset.unet.block_out_channels = {64, 128};
  preset.unet.layers_per_block = {1};
  preset.unet.norm_num_groups = 16;
  preset.unet.cross_attention_dim = 64;
  preset.unet.attention_heads = {4};
  preset.text_encoder.hidden_size = 64;
  preset.text_encoder.intermediate_size = 256;
  preset.text_encoder.num_hidden_layers = 2;
  preset.text_encoder.num_attention_heads = 4;
  preset.vae.latent_channels = 16;
  preset.vae.block_out_channels = {16, 32, 64, 64};
  preset.vae.layers_per_block = 1;
  preset.vae.norm_num_groups = 2;
  preset.vae.sample_size = {64, 64};
  preset.vae.scaling_factor = 1;
  return preset;
}

}  // namespace

Preset find_preset(const std::string& name) {
  if (name == "tiny") return tiny();
  if (name == "sd15") return {};  // what the configs' defaults are
  throw UsageError(fmt::format("there is no preset \"{}\"; there are tiny and sd15", name));
}

}  // namespace kessoku::model
