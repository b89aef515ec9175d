#pragma once

#include "data/images/image.h"
#include "model/stable_diffusion/stable_diffusion.h"
#include "runtime/images/generation_settings.h"

namespace kessoku::runtime {

/// Reads the files that images begin with, each once, and fits them to the image's size:
/// - without a size it is the init image's, rounded down to what the model makes, else the
/// model's;
/// - an image of another aspect is scaled to cover the size, and its center is taken;
/// - a mask spans the init image, whatever its own size; transparent parts are black (kept), what
///   is at least half bright is repainted.
/// Scaling is Pillow's, as in diffusers.
class GenerationInputs {
 public:
  explicit GenerationInputs(const model::StableDiffusion& model) : model_(model) {}

  /// Fills in the request's size, init, mask, noise, strength and tile, and the digests of files.
  /// Throws UsageError if a file is not there or settings do not fit each other, DataError naming
  /// the file if it is damaged or has another digest than the settings give.
  void load(GenerationSettings& settings);

  /// What was done to images that did not fit, one line each.
  const std::vector<std::string>& notes() const { return notes_; }

 private:
  struct File {
    data::Image image;
    std::string digest;
  };
  const File& read(const std::string& path, uint8_t background);
  void load_noise(GenerationSettings& settings);
  void load_images(GenerationSettings& settings);
  void note(const std::string& line);

  const model::StableDiffusion& model_;
  std::map<std::pair<std::string, uint8_t>, File> files_;
  std::map<std::string, at::Tensor> fitted_;  ///< shared by the images that use the same
  std::vector<std::string> notes_;
};

}  // namespace kessoku::runtime
