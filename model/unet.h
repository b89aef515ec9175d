#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>

#include "model/parameter.h"

namespace kessoku::model {

/// The fields of diffusers' UNet2DConditionModel config that SD 1.x-shaped models use.
struct UNetConfig {
  int64_t sample_size = 64;
  int64_t in_channels = 4;
  int64_t out_channels = 4;
  std::vector<std::string> down_block_types{"CrossAttnDownBlock2D", "CrossAttnDownBlock2D",
                                            "CrossAttnDownBlock2D", "DownBlock2D"};
  std::vector<std::string> up_block_types{"UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D",
                                          "CrossAttnUpBlock2D"};
  std::vector<int64_t> block_out_channels{320, 640, 1280, 1280};
  int64_t layers_per_block = 2;
  int64_t cross_attention_dim = 768;
  std::vector<int64_t> attention_heads{
      8};  ///< config key attention_head_dim (a misnomer); one, or one a block
  int64_t norm_num_groups = 32;
  double norm_eps = 1e-5;
  bool use_linear_projection = false;
  bool flip_sin_to_cos = true;
  double freq_shift = 0;

  /// `where` names the file in errors. Throws DataError on unsupported or malformed fields.
  static UNetConfig from_json(const nlohmann::json& json, const std::string& where);
  nlohmann::json to_json() const;
};

/// UNet2DConditionModel. Weights are uninitialised until loaded or initialised (model/init.h).
class UNet {
 public:
  explicit UNet(const UNetConfig& config);
  UNet(UNet&&) noexcept;
  UNet& operator=(UNet&&) noexcept;
  ~UNet();

  /// sample (B, C, h, w); timesteps (B) int64; encoder_hidden_states (B, T, D). Returns (B, C_out,
  /// h, w).
  at::Tensor forward(const at::Tensor& sample, const at::Tensor& timesteps,
                     const at::Tensor& encoder_hidden_states) const;

  const UNetConfig& config() const;
  const Parameters& parameters() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace kessoku::model
