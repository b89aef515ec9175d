#pragma once

#include <optional>

#include "model/networks/text_encoder.h"
#include "model/networks/unet.h"
#include "model/networks/vae.h"
#include "model/weights/stored_weights.h"

namespace kessoku::model {

/// How a file spells the weights of a network.
struct Spelling {
  std::string prefix;       ///< before all of them
  bool ldm = false;         ///< LDM's names, else those of diffusers and transformers
  bool short_text = false;  ///< LDM's text encoder without "text_model."
};

/// What a lone weight file is, told by its tensors' names.
struct WeightLayout {
  std::optional<Spelling> unet, text_encoder, vae;
  bool ema = false;       ///< holds moving averages of the UNet's weights beside them …
  bool only_ema = false;  ///< … or instead of them
  std::string foreign;    ///< if it is none of Stable Diffusion 1.x: what, e.g. "a LoRA"

  bool empty() const { return !unet && !text_encoder && !vae; }
  /// For people: "LDM checkpoint", "VAE (LDM names)" …
  std::string describe() const;
};

WeightLayout find_layout(const WeightFile& file);

/// The weights of one network in such a file. `expected`: those that its config asks for. `ema`:
/// the moving averages instead.
StoredWeights unet_weights(std::shared_ptr<const WeightFile> file, const Spelling& spelling,
                           const UNetConfig& config, const Parameters& expected, bool ema);
StoredWeights text_encoder_weights(std::shared_ptr<const WeightFile> file, const Spelling& spelling,
                                   const Parameters& expected);
StoredWeights vae_weights(std::shared_ptr<const WeightFile> file, const Spelling& spelling,
                          const VaeConfig& config, const Parameters& expected);

}  // namespace kessoku::model
