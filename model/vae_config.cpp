#include "model/config_reader.h"
#include "model/vae.h"

namespace kessoku::model {

using nlohmann::json;

VaeConfig VaeConfig::from_json(const json& json, const std::string& where) {
  const ConfigReader reader(json, where);
  reader.require("_class_name", {"AutoencoderKL"});
  reader.require("act_fn", {"silu", "swish"});
  reader.require("use_quant_conv", {true});
  reader.require("use_post_quant_conv", {true});
  reader.require("shift_factor", {0, 0.0});
  VaeConfig config;
  std::vector<std::string> down, up;
  reader.read("in_channels", config.in_channels);
  reader.read("out_channels", config.out_channels);
  reader.read("latent_channels", config.latent_channels);
  reader.read("block_out_channels", config.block_out_channels);
  reader.read("layers_per_block", config.layers_per_block, 64);
  reader.read("norm_num_groups", config.norm_num_groups);
  reader.read("sample_size", config.sample_size);
  reader.read("scaling_factor", config.scaling_factor);
  reader.read("mid_block_add_attention", config.mid_block_add_attention);
  reader.read("down_block_types", down);
  reader.read("up_block_types", up);
  const size_t levels = config.block_out_channels.size();
  for (const auto& [key, types, supported] :
       {std::tuple{"down_block_types", down, "DownEncoderBlock2D"},
        std::tuple{"up_block_types", up, "UpDecoderBlock2D"}}) {
    if (types != std::vector<std::string>(levels, supported)) {
      reader.fail(key, fmt::format("must be {} times \"{}\", once for each of block_out_channels",
                                   levels, supported));
    }
  }
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
  const size_t levels = block_out_channels.size();
  json config = {{"_class_name", "AutoencoderKL"},
                 {"_diffusers_version", kDiffusersVersion},
                 {"act_fn", "silu"},
                 {"block_out_channels", block_out_channels},
                 {"down_block_types", std::vector<std::string>(levels, "DownEncoderBlock2D")},
                 {"in_channels", in_channels},
                 {"latent_channels", latent_channels},
                 {"layers_per_block", layers_per_block},
                 {"norm_num_groups", norm_num_groups},
                 {"out_channels", out_channels},
                 {"sample_size", sample_size},
                 {"scaling_factor", scaling_factor},
                 {"up_block_types", std::vector<std::string>(levels, "UpDecoderBlock2D")}};
  if (!mid_block_add_attention) config["mid_block_add_attention"] = false;
  return config;
}

}  // namespace kessoku::model
