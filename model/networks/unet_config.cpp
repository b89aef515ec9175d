#include <cmath>

#include "base/json_fields.h"
#include "model/networks/unet.h"

namespace kessoku::model {

using nlohmann::json;

namespace {

constexpr int64_t kMaxLayers = 64;

/// Fields whose other values would make another network.
void require_sd1(const JsonFields& reader) {
  reader.require("_class_name", {"UNet2DConditionModel"});
  reader.require("act_fn", {"silu", "swish"});
  reader.require("attention_type", {"default"});
  reader.require("downsample_padding", {1});
  reader.require("mid_block_scale_factor", {1});
  reader.require("center_input_sample", {false});
  reader.require("dropout", {0});
  reader.require("dual_cross_attention", {false});
  reader.require("only_cross_attention", {false});
  reader.require("resnet_time_scale_shift", {"default"});
  reader.require("resnet_skip_time_act", {false});
  reader.require("resnet_out_scale_factor", {1});
  reader.require("time_embedding_type", {"positional"});
  reader.require("conv_in_kernel", {3});
  reader.require("conv_out_kernel", {3});
  reader.require("class_embeddings_concat", {false});
  for (const char* key :
       {"addition_embed_type", "class_embed_type", "cross_attention_norm", "encoder_hid_dim",
        "encoder_hid_dim_type", "num_attention_heads", "num_class_embeds",
        "reverse_transformer_layers_per_block", "time_cond_proj_dim", "time_embedding_act_fn",
        "timestep_post_act", "mid_block_only_cross_attention"}) {
    reader.require(key, {});
  }
}

void read_mid_block(const JsonFields& reader, UNetConfig& config) {
  const std::vector<std::string> supported{config.mid_block_type, "UNetMidBlock2D"};
  reader.read("mid_block_type", config.mid_block_type);
  if (reader.is_null("mid_block_type")) {
    config.mid_block_type = "";
  } else if (std::ranges::find(supported, config.mid_block_type) == supported.end()) {
    reader.fail("mid_block_type", fmt::format("\"{}\" is not supported; {} and null are",
                                              config.mid_block_type, fmt::join(supported, ", ")));
  }
}

/// diffusers takes a list, but a text encoder has but one width.
void read_cross_attention_dim(const JsonFields& reader, UNetConfig& config) {
  std::vector<int64_t> widths{config.cross_attention_dim};
  reader.read("cross_attention_dim", widths);
  if (std::ranges::adjacent_find(widths, std::not_equal_to()) != widths.end()) {
    reader.fail("cross_attention_dim", "must be the same for all blocks");
  }
  config.cross_attention_dim = widths[0];
}

void read_block_types(const JsonFields& reader, const char* key, const std::string& plain,
                      size_t levels, std::vector<std::string>& types) {
  reader.read(key, types);
  if (types.size() != levels) {
    reader.fail(key,
                fmt::format("has {} entries, but block_out_channels {}", types.size(), levels));
  }
  for (std::string& type : types) {
    if (type.starts_with("UNetRes")) type.erase(0, 7);  // as diffusers does, for very old configs
    if (type != plain && type != "CrossAttn" + plain) {
      reader.fail(
          key, fmt::format("\"{}\" is not supported; {} and CrossAttn{} are", type, plain, plain));
    }
  }
}

void read_per_block(const JsonFields& reader, const char* key, size_t levels, int64_t max,
                    std::vector<int64_t>& values) {
  reader.read(key, values);
  if (values.size() != 1 && values.size() != levels) {
    reader.fail(key, fmt::format("must be one number or {}, one a block", levels));
  }
  for (const int64_t value : values) {
    if (value > max) reader.fail(key, fmt::format("must be at most {}", max));
  }
}

void check_channels(const JsonFields& reader, const UNetConfig& config) {
  for (const int64_t channels : config.block_out_channels) {
    if (channels % config.norm_num_groups != 0) {
      reader.fail("block_out_channels", fmt::format("{} is not a multiple of norm_num_groups {}",
                                                    channels, config.norm_num_groups));
    }
  }
  const size_t levels = config.block_out_channels.size();
  const auto attends = [](const std::string& type) {
    return type.find("CrossAttn") != std::string::npos;
  };
  for (size_t i = 0; i < levels; ++i) {
    if (!attends(config.down_block_types[i]) && !attends(config.up_block_types[levels - 1 - i]) &&
        !(i + 1 == levels && attends(config.mid_block_type))) {
      continue;
    }
    const int64_t heads = config.attention_heads[config.attention_heads.size() == 1 ? 0 : i];
    if (heads > config.block_out_channels[i]) {
      reader.fail("attention_head_dim",
                  fmt::format("{} attention heads have no room in {} channels", heads,
                              config.block_out_channels[i]));
    }
  }
}

json one_or_list(const std::vector<int64_t>& values) {
  return values.size() == 1 ? json(values[0]) : json(values);
}

}  // namespace

UNetConfig UNetConfig::from_json(const json& json, const std::string& where) {
  const JsonFields reader(json, where);
  require_sd1(reader);
  UNetConfig config;
  config.cross_attention_dim = 1280;  // diffusers' default
  reader.read_size("sample_size", config.sample_size);
  reader.read("in_channels", config.in_channels);
  reader.read("out_channels", config.out_channels);
  reader.read("block_out_channels", config.block_out_channels);
  const size_t levels = config.block_out_channels.size();
  read_block_types(reader, "down_block_types", "DownBlock2D", levels, config.down_block_types);
  read_mid_block(reader, config);
  read_block_types(reader, "up_block_types", "UpBlock2D", levels, config.up_block_types);
  read_per_block(reader, "layers_per_block", levels, kMaxLayers, config.layers_per_block);
  read_per_block(reader, "transformer_layers_per_block", levels, kMaxLayers,
                 config.transformer_layers_per_block);
  read_per_block(reader, "attention_head_dim", levels, int64_t{1} << 20, config.attention_heads);
  read_cross_attention_dim(reader, config);
  reader.read("norm_num_groups", config.norm_num_groups);
  reader.read("norm_eps", config.norm_eps);
  reader.read("use_linear_projection", config.use_linear_projection);
  reader.read("upcast_attention", config.upcast_attention);
  reader.read("flip_sin_to_cos", config.flip_sin_to_cos);
  reader.read("freq_shift", config.freq_shift);
  reader.read("time_embedding_dim", config.time_embedding_dim);
  check_channels(reader, config);
  return config;
}

json UNetConfig::to_json() const {
  json config = {
      {"_class_name", "UNet2DConditionModel"},
      {"_diffusers_version", kDiffusersVersion},
      {"act_fn", "silu"},
      {"attention_head_dim", one_or_list(attention_heads)},
      {"block_out_channels", block_out_channels},
      {"center_input_sample", false},
      {"cross_attention_dim", cross_attention_dim},
      {"down_block_types", down_block_types},
      {"downsample_padding", 1},
      {"flip_sin_to_cos", flip_sin_to_cos},
      {"freq_shift", freq_shift == std::floor(freq_shift) ? json(static_cast<int64_t>(freq_shift))
                                                          : json(freq_shift)},
      {"in_channels", in_channels},
      {"layers_per_block", one_or_list(layers_per_block)},
      {"mid_block_scale_factor", 1},
      {"norm_eps", norm_eps},
      {"norm_num_groups", norm_num_groups},
      {"out_channels", out_channels},
      {"sample_size", size_to_json(sample_size)},
      {"up_block_types", up_block_types},
      {"use_linear_projection", use_linear_projection}};
  // As SD 1.5's own config, ours has these only where they are not the default.
  const UNetConfig defaults;
  if (mid_block_type != defaults.mid_block_type) {
    config["mid_block_type"] = mid_block_type.empty() ? json() : json(mid_block_type);
  }
  if (transformer_layers_per_block != defaults.transformer_layers_per_block) {
    config["transformer_layers_per_block"] = one_or_list(transformer_layers_per_block);
  }
  if (upcast_attention) config["upcast_attention"] = true;
  if (time_embedding_dim > 0) config["time_embedding_dim"] = time_embedding_dim;
  return config;
}

}  // namespace kessoku::model
