#pragma once

#include "model/stable_diffusion.h"
#include "runtime/picture_settings.h"

namespace kessoku::runtime {

/// Numbers of pictures that are made at once: equal in all that a batch shares, and no more than
/// their `batch`; in the order of each batch's first picture.
std::vector<std::vector<size_t>> group_into_batches(const model::StableDiffusion& model,
                                                    const std::vector<PictureSettings>& pictures);

/// The usual `batch` of a picture: enough to keep the cores busy with small ones. A function of the
/// picture's size alone, because a picture's last bits depend on it.
int64_t usual_batch(const model::StableDiffusion& model, const model::PictureRequest& request);

}  // namespace kessoku::runtime
