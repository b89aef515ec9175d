#pragma once

#include <string>

#include "model/networks/unet.h"
#include "model/networks/vae.h"

namespace kessoku::model {

// Where the networks are in a file of the original Stable Diffusion code (LDM, "latent diffusion
// models"), from which most tools' single files descend.
constexpr const char* kLdmUNet = "model.diffusion_model.";
constexpr const char* kLdmVae = "first_stage_model.";
constexpr const char* kLdmTextEncoder = "cond_stage_model.transformer.";
constexpr const char* kLdmPositionIds =
    "cond_stage_model.transformer.text_model.embeddings.position_ids";

/// The name, without kLdmUNet, that LDM gives the weight which diffusers calls `name`. The text
/// encoder's weights have the same names in both.
std::string ldm_unet_name(const UNetConfig& config, const std::string& name);
/// The same for the autoencoder, without kLdmVae. LDM also stores its attention's matrices as 1×1
/// convolutions.
std::string ldm_vae_name(const VaeConfig& config, const std::string& name);
/// Where LDM keeps the moving average of the weight `name` (with kLdmUNet).
std::string ldm_ema_name(const std::string& name);

}  // namespace kessoku::model
