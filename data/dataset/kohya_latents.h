#pragma once

#include <ATen/core/Tensor.h>

#include "data/dataset/dataset_builder.h"

namespace kessoku::data {

/// Of the latents of Stable Diffusion 1.x and 2.x.
constexpr int64_t kKohyaChannels = 4;
constexpr int64_t kKohyaDownscale = 8;

/// If kohya's scripts have kept the image's latents beside it, of Stable Diffusion 1.x or 2.x,
/// gives their file to the example, and the size that they were made for. `files` are the names in
/// the image's folder, sorted. Files that cannot be used, or are older than the image, are warned
/// about.
void add_kohya_latents(DatasetBuilder& builder, const std::vector<std::string>& files,
                       Example& example);

/// A latent (4, h, w) as the VAE gave it, unscaled, f32. Throws DataError if the file cannot be
/// used.
at::Tensor read_kohya_latents(const std::filesystem::path& path);

}  // namespace kessoku::data
