#include "model/pipeline/inpainting.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/max_pool2d.h>
#include <ATen/ops/maximum.h>
#include <ATen/ops/zeros_like.h>

namespace kessoku::model {

bool is_inpainting_model(const StableDiffusion& model) {
  return model.unet.config().in_channels == 2 * model.vae.config().latent_channels + 1;
}

void widen_for_inpainting(StableDiffusion& model) {
  if (is_inpainting_model(model)) return;
  const at::NoGradGuard no_grad;
  UNetConfig config = model.unet.config();
  config.in_channels = 2 * model.vae.config().latent_channels + 1;
  UNet wide(config);
  const Parameters& from = model.unet.parameters();
  const Parameters& to = wide.parameters();
  for (size_t i = 0; i < to.size(); ++i) {
    at::Tensor target = to[i].tensor;
    if (target.sizes() != from[i].tensor.sizes()) {  // conv_in.weight (out, in, 3, 3)
      target.zero_();
      target = target.narrow(1, 0, from[i].tensor.size(1));
    }
    target.copy_(from[i].tensor);
  }
  model.unet = std::move(wide);
}

at::Tensor mask_of_latents(const at::Tensor& masks, int64_t downscale) {
  return masks.slice(-2, 0, {}, downscale).slice(-1, 0, {}, downscale);
}

at::Tensor masked_images(const at::Tensor& images, const at::Tensor& masks) {
  return images * (masks < 0.5).to(images.scalar_type());
}

at::Tensor keep_original(const at::Tensor& made, const at::Tensor& original, const at::Tensor& mask,
                         int64_t feather) {
  at::Tensor share = mask;  // of the made image; falls by the same at each pixel of distance
  for (int64_t i = 0; i < feather; ++i) {
    const at::Tensor around = at::max_pool2d(share, {3, 3}, {1, 1}, {1, 1});
    share = at::maximum(share, around - 1 / static_cast<double>(feather + 1));
  }
  share = share.permute({1, 2, 0});
  const at::Tensor pixels = ((original * 0.5 + 0.5) * 255).permute({1, 2, 0});
  const at::Tensor mixed = made.to(at::kFloat) * share + pixels * (1 - share);
  return mixed.round().clamp(0, 255).to(at::kByte);
}

}  // namespace kessoku::model
