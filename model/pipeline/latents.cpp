#include "model/pipeline/latents.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/exp.h>
#include <ATen/ops/isfinite.h>

#include "base/error.h"
#include "model/networks/vae_tiling.h"

namespace kessoku::model {

at::Tensor unit_normals(at::IntArrayRef shape, uint64_t seed, Purpose purpose, uint64_t index) {
  at::Tensor normals = at::empty(shape, at::kFloat);
  RandomStream(seed, purpose, index)
      .fill_normal({normals.data_ptr<float>(), static_cast<size_t>(normals.numel())});
  return normals;
}

at::Tensor encode_to_latents(const Vae& vae, const at::Tensor& images, const at::Tensor& noise,
                             int64_t tile) {
  const std::vector<at::Tensor> moments =
      encode_tiled(vae, images, tile).to(at::kFloat).chunk(2, 1);
  return (moments[0] + at::exp(0.5 * moments[1]) * noise) * vae.config().scaling_factor;
}

at::Tensor decode_to_pixels(const Vae& vae, const at::Tensor& latents, int64_t tile) {
  const at::Tensor images =
      decode_tiled(vae, latents / vae.config().scaling_factor, tile).to(at::kFloat);
  if (!at::isfinite(images).all().item<bool>()) {
    throw DataError(
        "the image's numbers are not finite (NaN or infinite): damaged weights or initial "
        "latents, or a guidance scale that the model cannot follow");
  }
  const at::Tensor bytes = ((images * 0.5 + 0.5).clamp(0, 1) * 255).round().to(at::kByte);
  return bytes.permute({0, 2, 3, 1}).contiguous().cpu();
}

}  // namespace kessoku::model
