#pragma once

#include <functional>

#include "model/picture_request.h"
#include "model/stable_diffusion.h"

namespace kessoku::model {

struct PictureOptions {
  /// Pictures that go through the UNet at once, at least B; the missing ones are filled in and
  /// thrown away. Bits depend on this number, but not on what the other pictures are. 0 = B.
  int64_t rows = 0;
  /// Called with (done, total) after each step; may throw to stop.
  std::function<void(int64_t, int64_t)> on_step{};
};

/// Makes pictures of one `batch_key`: text → image, image → image
/// with `init`, inpainting with `init` and `mask`. As diffusers' StableDiffusionPipeline,
/// …Img2ImgPipeline and …InpaintPipeline; an ordinary UNet keeps what is not masked by setting it
/// back to the noised original after each step, one of 2·C + 1 channels is given mask and masked
/// picture, and without a mask paints all. Returns u8 (B, H, W, 3) on the CPU. Throws UsageError on
/// settings that no picture can have, DataError if the result is not finite.
at::Tensor make_pictures(const StableDiffusion& model, const std::vector<PictureRequest>& requests,
                         const PictureOptions& options = {});

/// Pictures can be made at once if these are equal: size, steps, guidance, solver, strength,
/// whether there are picture and mask, and the number of chunks of the prompts.
std::string batch_key(const StableDiffusion& model, const PictureRequest& request);

/// Throws UsageError, naming the nearest size that would do, unless both sides are multiples of the
/// VAE's downscale.
void check_picture_size(const StableDiffusion& model, int64_t width, int64_t height);

/// Calls of the UNet that a picture takes.
int64_t count_steps(const StableDiffusion& model, const PictureRequest& request);

}  // namespace kessoku::model
