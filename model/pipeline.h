#pragma once

#include <functional>

#include "model/picture_request.h"
#include "model/stable_diffusion.h"

namespace kessoku::model {

struct PictureOptions {
  /// Unit normal (B, C, h, w), replaces the noise of the seeds with which pictures begin.
  at::Tensor noise{};
  /// Pictures that go through the UNet at once, at least B; the missing ones are filled in and
  /// thrown away. Bits depend on this number, but not on what the other pictures are. 0 = B.
  int64_t rows = 0;
  /// Called with (done, total) after each step; may throw to stop.
  std::function<void(int64_t, int64_t)> on_step{};
};

/// Makes pictures that agree in all that `can_share_batch` asks for: text → image, image → image
/// with `init`, inpainting with `init` and `mask`. As diffusers' StableDiffusionPipeline,
/// …Img2ImgPipeline and …InpaintPipeline; an ordinary UNet keeps what is not masked by setting it
/// back to the noised original after each step, one of 2·C + 1 channels is given mask and masked
/// picture, and without a mask paints all. Returns u8 (B, H, W, 3) on the CPU. Throws UsageError on
/// settings that no picture can have, DataError if the result is not finite.
at::Tensor make_pictures(const StableDiffusion& model, const std::vector<PictureRequest>& requests,
                         const PictureOptions& options = {});

/// Whether two pictures can be made at once: equal size, steps, guidance, solver and strength, both
/// with or without picture and mask, and prompts of equally many chunks.
bool can_share_batch(const StableDiffusion& model, const PictureRequest& a,
                     const PictureRequest& b);

/// Throws UsageError, naming the nearest size that would do, unless both sides are multiples of the
/// VAE's downscale.
void check_picture_size(const StableDiffusion& model, int64_t width, int64_t height);

/// Calls of the UNet that a picture takes.
int64_t count_steps(const StableDiffusion& model, const PictureRequest& request);

}  // namespace kessoku::model
