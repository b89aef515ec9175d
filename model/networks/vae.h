#pragma once

#include <array>
#include <memory>
#include <nlohmann/json_fwd.hpp>

#include "model/networks/forward_hook.h"

namespace kessoku::model {

/// The fields of diffusers' AutoencoderKL config; by default SD 1.5's.
struct VaeConfig {
  int64_t in_channels = 3;
  int64_t out_channels = 3;
  int64_t latent_channels = 4;
  std::vector<int64_t> block_out_channels{128, 256, 512, 512};
  std::vector<std::string> down_block_types{4,
                                            "DownEncoderBlock2D"};  ///< or AttnDownEncoderBlock2D
  std::vector<std::string> up_block_types{4, "UpDecoderBlock2D"};   ///< or AttnUpDecoderBlock2D
  int64_t layers_per_block = 2;
  int64_t norm_num_groups = 32;
  std::array<int64_t, 2> sample_size{512, 512};  ///< height, width of the images it was made for
  bool mid_block_add_attention = true;
  bool use_quant_conv = true;
  bool use_post_quant_conv = true;
  bool force_upcast = true;  ///< kept for programs that run it in fp16
  double scaling_factor = 0.18215;

  /// `where` names the file in errors. A field that is not there has diffusers' default. Throws
  /// DataError on unsupported or malformed fields.
  static VaeConfig from_json(const nlohmann::json& json, const std::string& where);
  nlohmann::json to_json() const;
  /// Pixels to a latent's side: 2^(blocks − 1).
  int64_t downscale() const { return int64_t{1} << (block_out_channels.size() - 1); }
};

/// AutoencoderKL.
class Vae {
 public:
  explicit Vae(const VaeConfig& config, at::Device device = at::kCPU);
  Vae(Vae&&) noexcept;
  Vae& operator=(Vae&&) noexcept;
  ~Vae();

  // Both compute in the weights' type and return it.

  /// images (B, 3, H, W) in −1…1, of sides that are at least downscale(). Returns moments
  /// (B, 2·latent_channels, h, w): mean, then log-variance clamped to −30…20; unscaled.
  at::Tensor encode(const at::Tensor& images) const;
  /// latents (B, latent_channels, h, w), unscaled. Returns images (B, 3, H, W), about −1…1.
  at::Tensor decode(const at::Tensor& latents) const;

  /// See run_block (model/networks/checkpointing.h); off at first.
  void set_gradient_checkpointing(bool on);
  void set_before_use(BeforeUse before_use);

  VaeConfig& config();
  const VaeConfig& config() const;
  const Parameters& parameters() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace kessoku::model
