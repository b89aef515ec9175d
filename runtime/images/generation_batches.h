#pragma once

#include "model/stable_diffusion/stable_diffusion.h"
#include "runtime/images/generation_settings.h"

namespace kessoku::runtime {

/// Numbers of images that are made at once: equal in all that a batch shares, and no more than
/// their `batch`; in the order of each batch's first image.
std::vector<std::vector<size_t>> group_into_batches(const model::StableDiffusion& model,
                                                    const std::vector<GenerationSettings>& images);

/// The usual `batch` of an image: enough to keep the cores busy with small ones. A function of the
/// image's size alone, because an image's last bits depend on it.
int64_t usual_batch(const model::StableDiffusion& model, const model::GenerationRequest& request);

}  // namespace kessoku::runtime
