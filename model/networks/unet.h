#pragma once

#include <array>
#include <memory>
#include <nlohmann/json_fwd.hpp>

#include "model/networks/forward_hook.h"

namespace kessoku::model {

/// The fields of diffusers' UNet2DConditionModel config that SD 1.x-shaped models use; by default
/// SD 1.5's. Where it says "a block" there is one value for all blocks or one for each, down the
/// UNet; the up path has them in reverse.
struct UNetConfig {
  std::array<int64_t, 2> sample_size{64, 64};  ///< height, width of the latents it was made for
  int64_t in_channels = 4;
  int64_t out_channels = 4;
  std::vector<std::string> down_block_types{"CrossAttnDownBlock2D", "CrossAttnDownBlock2D",
                                            "CrossAttnDownBlock2D", "DownBlock2D"};
  std::string mid_block_type =
      "UNetMidBlock2DCrossAttn";  ///< or "UNetMidBlock2D"; empty (JSON: null) = none
  std::vector<std::string> up_block_types{"UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D",
                                          "CrossAttnUpBlock2D"};
  std::vector<int64_t> block_out_channels{320, 640, 1280, 1280};
  std::vector<int64_t> layers_per_block{2};              ///< residual blocks a block
  std::vector<int64_t> transformer_layers_per_block{1};  ///< in each transformer of a block
  int64_t cross_attention_dim = 768;
  std::vector<int64_t> attention_heads{8};  ///< a block; config key attention_head_dim, a misnomer
  int64_t norm_num_groups = 32;
  double norm_eps = 1e-5;
  bool use_linear_projection = false;
  bool upcast_attention = false;  ///< changes nothing here: attention's softmax is fp32 anyway
  bool flip_sin_to_cos = true;
  double freq_shift = 0;
  int64_t time_embedding_dim = 0;  ///< 0 = 4 × the first channels

  /// `where` names the file in errors. A field that is not there has diffusers' default. Throws
  /// DataError on unsupported or malformed fields.
  static UNetConfig from_json(const nlohmann::json& json, const std::string& where);
  nlohmann::json to_json() const;
};

/// UNet2DConditionModel. Weights are uninitialized until loaded or initialized
/// (model/networks/init.h).
class UNet {
 public:
  explicit UNet(const UNetConfig& config, at::Device device = at::kCPU);
  UNet(UNet&&) noexcept;
  UNet& operator=(UNet&&) noexcept;
  ~UNet();

  /// sample (B, C, h, w) of any size; timesteps (B), whole or not; encoder_hidden_states (B, T, D).
  /// Computes in the weights' type, and returns (B, C_out, h, w) of it.
  at::Tensor forward(const at::Tensor& sample, const at::Tensor& timesteps,
                     const at::Tensor& encoder_hidden_states) const;

  /// See run_block (model/networks/checkpointing.h); off at first.
  void set_gradient_checkpointing(bool on);
  void set_before_use(BeforeUse before_use);

  const UNetConfig& config() const;
  const Parameters& parameters() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace kessoku::model
