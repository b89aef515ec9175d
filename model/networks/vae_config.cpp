#include "base/json_fields.h"
#include "model/networks/vae.h"

namespace kessoku::model {

using nlohmann::json;

namespace {

/// Fields whose other values would make another network, or that SD 1.x's pipelines do not heed.
void require_sd1(const JsonFields& reader) {
  reader.require("_class_name", {"AutoencoderKL"});
  reader.require("act_fn", {"silu", "swish"});
  reader.require("shift_factor", {0});
  for (const char* key : {"latents_mean", "latents_std"}) reader.require(key, {});
}

void check_block_types(const JsonFields& reader, const char* key, const std::string& plain,
                       size_t levels, const std::vector<std::string>& types) {
  if (types.size() != levels) {
    reader.fail(key,
                fmt::format("has {} entries, but block_out_channels {}", types.size(), levels));
  }
  for (const std::string& type : types) {
    if (type != plain && type != "Attn" + plain) {
      reader.fail(key,
                  fmt::format("\"{}\" is not supported; {} and Attn{} are", type, plain, plain));
    }
  }
}

}  // namespace

VaeConfig VaeConfig::from_json(const json& json, const std::string& where) {
  const JsonFields reader(json, where);
  require_sd1(reader);
  VaeConfig config{.block_out_channels = {64},  // diffusers' defaults
                   .down_block_types = {"DownEncoderBlock2D"},
                   .up_block_types = {"UpDecoderBlock2D"},
                   .layers_per_block = 1,
                   .sample_size = {32, 32}};
  reader.read("in_channels", config.in_channels);
  reader.read("out_channels", config.out_channels);
  reader.read("latent_channels", config.latent_channels);
  reader.read("block_out_channels", config.block_out_channels);
  reader.read("down_block_types", config.down_block_types);
  reader.read("up_block_types", config.up_block_types);
  reader.read("layers_per_block", config.layers_per_block, 64);
  reader.read("norm_num_groups", config.norm_num_groups);
  reader.read_size("sample_size", config.sample_size);
  reader.read("scaling_factor", config.scaling_factor);
  reader.read("mid_block_add_attention", config.mid_block_add_attention);
  reader.read("use_quant_conv", config.use_quant_conv);
  reader.read("use_post_quant_conv", config.use_post_quant_conv);
  reader.read("force_upcast", config.force_upcast);
  const size_t levels = config.block_out_channels.size();
  check_block_types(reader, "down_block_types", "DownEncoderBlock2D", levels,
                    config.down_block_types);
  check_block_types(reader, "up_block_types", "UpDecoderBlock2D", levels, config.up_block_types);
  for (const int64_t channels : config.block_out_channels) {
    if (channels % config.norm_num_groups != 0) {
      reader.fail("block_out_channels", fmt::format("{} is not a multiple of norm_num_groups {}",
                                                    channels, config.norm_num_groups));
    }
  }
  if (!(config.scaling_factor > 0)) reader.fail("scaling_factor", "must be above 0");
  return config;
}

json VaeConfig::to_json() const {
  json config = {{"_class_name", "AutoencoderKL"},
                 {"_diffusers_version", kDiffusersVersion},
                 {"act_fn", "silu"},
                 {"block_out_channels", block_out_channels},
                 {"down_block_types", down_block_types},
                 {"in_channels", in_channels},
                 {"latent_channels", latent_channels},
                 {"layers_per_block", layers_per_block},
                 {"norm_num_groups", norm_num_groups},
                 {"out_channels", out_channels},
                 {"sample_size", size_to_json(sample_size)},
                 {"scaling_factor", scaling_factor},
                 {"up_block_types", up_block_types}};
  // As SD 1.5's own config, ours has these only where they are not the default.
  for (const auto& [key, value] : {std::pair{"mid_block_add_attention", mid_block_add_attention},
                                   {"use_quant_conv", use_quant_conv},
                                   {"use_post_quant_conv", use_post_quant_conv},
                                   {"force_upcast", force_upcast}}) {
    if (!value) config[key] = false;
  }
  return config;
}

}  // namespace kessoku::model
