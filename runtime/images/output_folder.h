#pragma once

#include "data/images/image.h"
#include "runtime/images/generation_settings.h"

namespace kessoku::runtime {

/// The folder that `kessoku sample` writes to: 00000.png, 00001.png … and grid.png. Nothing that is
/// there is ever overwritten: numbers go on after the highest, further grids are grid-1.png ….
class OutputFolder {
 public:
  /// Makes the folder if need be.
  explicit OutputFolder(std::filesystem::path path);

  /// Writes image number `index` of this call of the program, with its settings as text. Returns
  /// the file.
  std::filesystem::path write(const data::Image& image, const GenerationSettings& settings,
                              size_t index);
  std::filesystem::path write_grid(const data::Image& grid);

 private:
  std::filesystem::path path_;
  size_t first_;
};

/// Pixels (H, W, 3) u8 on the CPU as an image.
data::Image to_image(const at::Tensor& pixels);

}  // namespace kessoku::runtime
