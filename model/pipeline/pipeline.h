#pragma once

#include <functional>

#include "model/pipeline/generation_request.h"
#include "model/stable_diffusion/stable_diffusion.h"

namespace kessoku::model {

struct GenerationOptions {
  /// Images that go through the UNet at once, at least B; the missing ones are filled in and
  /// thrown away. Bits depend on this number, but not on what the other images are. 0 = B.
  int64_t rows = 0;
  /// Called with (done, total) after each step; may throw to stop.
  std::function<void(int64_t, int64_t)> on_step{};
};

/// Makes images of one `batch_key`: text → image, image → image
/// with `init`, inpainting with `init` and `mask`. As diffusers' StableDiffusionPipeline,
/// …Img2ImgPipeline and …InpaintPipeline; an ordinary UNet keeps what is not masked by setting it
/// back to the noised original after each step, one of 2·C + 1 channels is given mask and masked
/// image, and without a mask paints all. Returns u8 (B, H, W, 3) on the CPU. Throws UsageError on
/// settings that no image can have, DataError if the result is not finite.
at::Tensor make_images(const StableDiffusion& model, const std::vector<GenerationRequest>& requests,
                       const GenerationOptions& options = {});

/// Images can be made at once if these are equal: size, steps, guidance, solver, strength,
/// whether there are image and mask, and the number of chunks of the prompts.
std::string batch_key(const StableDiffusion& model, const GenerationRequest& request);

/// Throws UsageError, naming the nearest size that would do, unless both sides are multiples of the
/// VAE's downscale.
void check_image_size(const StableDiffusion& model, int64_t width, int64_t height);

/// Calls of the UNet that an image takes.
int64_t count_steps(const StableDiffusion& model, const GenerationRequest& request);

}  // namespace kessoku::model
