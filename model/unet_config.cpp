#include <cmath>

#include "model/config_reader.h"
#include "model/unet.h"

namespace kessoku::model {

using nlohmann::json;

namespace {

/// Fields whose other values would make another network.
void require_sd1(const ConfigReader& reader) {
  reader.require("_class_name", {"UNet2DConditionModel"});
  reader.require("act_fn", {"silu", "swish"});
  reader.require("mid_block_type", {"UNetMidBlock2DCrossAttn"});
  reader.require("downsample_padding", {1});
  reader.require("mid_block_scale_factor", {1});
  reader.require("center_input_sample", {false});
  reader.require("dual_cross_attention", {false});
  reader.require("only_cross_attention", {false});
  reader.require("resnet_time_scale_shift", {"default"});
  reader.require("resnet_skip_time_act", {false});
  reader.require("time_embedding_type", {"positional"});
  reader.require("transformer_layers_per_block", {1});
  reader.require("conv_in_kernel", {3});
  reader.require("conv_out_kernel", {3});
  reader.require("class_embeddings_concat", {false});
  for (const char* key :
       {"addition_embed_type", "class_embed_type", "cross_attention_norm", "encoder_hid_dim",
        "encoder_hid_dim_type", "num_attention_heads", "num_class_embeds",
        "reverse_transformer_layers_per_block", "time_cond_proj_dim", "time_embedding_act_fn",
        "time_embedding_dim", "timestep_post_act", "mid_block_only_cross_attention"}) {
    reader.require(key, {});
  }
}

void check(const UNetConfig& config, const ConfigReader& reader) {
  const size_t levels = config.block_out_channels.size();
  for (const auto& [key, types, plain] :
       {std::tuple{"down_block_types", config.down_block_types, "DownBlock2D"},
        std::tuple{"up_block_types", config.up_block_types, "UpBlock2D"}}) {
    if (types.size() != levels) {
      reader.fail(key,
                  fmt::format("has {} entries, but block_out_channels {}", types.size(), levels));
    }
    for (const std::string& type : types) {
      if (type != plain && type != std::string("CrossAttn") + plain) {
        reader.fail(key, fmt::format("\"{}\" is not supported; {} and CrossAttn{} are", type, plain,
                                     plain));
      }
    }
  }
  if (config.attention_heads.size() != 1 && config.attention_heads.size() != levels) {
    reader.fail("attention_head_dim", fmt::format("must be one number or {}, one a block", levels));
  }
  for (size_t i = 0; i < levels; ++i) {
    const int64_t channels = config.block_out_channels[i];
    const int64_t heads = config.attention_heads[config.attention_heads.size() == 1 ? 0 : i];
    if (channels % config.norm_num_groups != 0) {
      reader.fail("block_out_channels", fmt::format("{} is not a multiple of norm_num_groups {}",
                                                    channels, config.norm_num_groups));
    }
    if (channels % heads != 0) {
      reader.fail("block_out_channels",
                  fmt::format("{} is not a multiple of the {} attention heads", channels, heads));
    }
  }
}

}  // namespace

UNetConfig UNetConfig::from_json(const json& json, const std::string& where) {
  const ConfigReader reader(json, where);
  require_sd1(reader);
  UNetConfig config;
  reader.read("sample_size", config.sample_size);
  reader.read("in_channels", config.in_channels);
  reader.read("out_channels", config.out_channels);
  reader.read("down_block_types", config.down_block_types);
  reader.read("up_block_types", config.up_block_types);
  reader.read("block_out_channels", config.block_out_channels);
  reader.read("layers_per_block", config.layers_per_block, 64);
  reader.read("cross_attention_dim", config.cross_attention_dim);
  reader.read("attention_head_dim", config.attention_heads);
  reader.read("norm_num_groups", config.norm_num_groups);
  reader.read("norm_eps", config.norm_eps);
  reader.read("use_linear_projection", config.use_linear_projection);
  reader.read("flip_sin_to_cos", config.flip_sin_to_cos);
  reader.read("freq_shift", config.freq_shift);
  check(config, reader);
  return config;
}

json UNetConfig::to_json() const {
  return {
      {"_class_name", "UNet2DConditionModel"},
      {"_diffusers_version", kDiffusersVersion},
      {"act_fn", "silu"},
      {"attention_head_dim",
       attention_heads.size() == 1 ? json(attention_heads[0]) : json(attention_heads)},
      {"block_out_channels", block_out_channels},
      {"center_input_sample", false},
      {"cross_attention_dim", cross_attention_dim},
      {"down_block_types", down_block_types},
      {"downsample_padding", 1},
      {"flip_sin_to_cos", flip_sin_to_cos},
      {"freq_shift", freq_shift == std::floor(freq_shift) ? json(static_cast<int64_t>(freq_shift))
                                                          : json(freq_shift)},
      {"in_channels", in_channels},
      {"layers_per_block", layers_per_block},
      {"mid_block_scale_factor", 1},
      {"norm_eps", norm_eps},
      {"norm_num_groups", norm_num_groups},
      {"out_channels", out_channels},
      {"sample_size", sample_size},
      {"up_block_types", up_block_types},
      {"use_linear_projection", use_linear_projection}};
}

}  // namespace kessoku::model
