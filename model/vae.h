#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>

#include "model/parameter.h"

namespace kessoku::model {

/// The fields of diffusers' AutoencoderKL config.
struct VaeConfig {
  int64_t in_channels = 3;
  int64_t out_channels = 3;
  int64_t latent_channels = 4;
  std::vector<int64_t> block_out_channels{128, 256, 512, 512};
  int64_t layers_per_block = 2;
  int64_t norm_num_groups = 32;
  int64_t sample_size = 512;
  bool mid_block_add_attention = true;
  double scaling_factor = 0.18215;

  static VaeConfig from_json(const nlohmann::json& json, const std::string& where);
  nlohmann::json to_json() const;
  /// Pixels to a latent's side: 2^(blocks − 1).
  int64_t downscale() const { return int64_t{1} << (block_out_channels.size() - 1); }
};

/// AutoencoderKL.
class Vae {
 public:
  explicit Vae(const VaeConfig& config);
  Vae(Vae&&) noexcept;
  Vae& operator=(Vae&&) noexcept;
  ~Vae();

  /// images (B, 3, H, W) in −1…1. Returns moments (B, 2·latent_channels, h, w): mean, then
  /// log-variance clamped to −30…20; unscaled.
  at::Tensor encode(const at::Tensor& images) const;
  /// latents (B, latent_channels, h, w), unscaled. Returns images (B, 3, H, W), about −1…1.
  at::Tensor decode(const at::Tensor& latents) const;

  VaeConfig& config();
  const VaeConfig& config() const;
  const Parameters& parameters() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace kessoku::model
