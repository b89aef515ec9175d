#pragma once

#include "data/image.h"
#include "model/stable_diffusion.h"
#include "runtime/picture_settings.h"
#include "runtime/stop_signal.h"

namespace kessoku::launcher {

/// A picture that is there.
struct MadePicture {
  std::filesystem::path file;
  runtime::PictureSettings settings;
  data::Image thumbnail;  ///< as the grid shows it
};

/// Makes the pictures, batch by batch, and writes each into `folder` as soon as it is there; shows
/// a progress line. Returns those that are finished when `stop` comes, in order. `columns` are
/// those of the grid, whose pictures are scaled so that it remains a picture that programs open.
std::vector<MadePicture> draw_pictures(const model::StableDiffusion& model,
                                       const std::vector<runtime::PictureSettings>& pictures,
                                       const std::filesystem::path& folder, size_t columns,
                                       const runtime::StopSignal& stop);

}  // namespace kessoku::launcher
