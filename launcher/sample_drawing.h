#pragma once

#include "data/images/image.h"
#include "model/stable_diffusion/stable_diffusion.h"
#include "runtime/images/generation_settings.h"
#include "runtime/supervision/stop_signal.h"

namespace kessoku::launcher {

/// An image that is there.
struct GeneratedImage {
  std::filesystem::path file;
  runtime::GenerationSettings settings;
  data::Image thumbnail;  ///< as the grid shows it
};

/// Makes the images, batch by batch, and writes each into `folder` as soon as it is there; shows
/// a progress line. Returns those that are finished when `stop` comes, in order. `columns` are
/// those of the grid, whose images are scaled so that it remains an image that programs open.
std::vector<GeneratedImage> draw_images(const model::StableDiffusion& model,
                                        const std::vector<runtime::GenerationSettings>& images,
                                        const std::filesystem::path& folder, size_t columns,
                                        const runtime::StopSignal& stop);

}  // namespace kessoku::launcher
