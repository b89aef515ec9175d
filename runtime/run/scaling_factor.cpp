#include "runtime/run/scaling_factor.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>

#include <cmath>

namespace kessoku::runtime {

double fit_scaling_factor(const model::Vae& vae, const data::Store& store) {
  const at::NoGradGuard no_grad;
  const size_t images = std::min<size_t>(256, store.size());
  const at::Device device = vae.parameters().front().tensor.device();
  double count = 0, sum = 0, squares = 0;
  for (size_t i = 0; i < images; ++i) {
    const size_t example = i * store.size() / images;
    at::Tensor pixels = at::empty(store.shape(example, data::Kind::kImages), at::kByte);
    store.read(example, data::Kind::kImages, 0, pixels);
    const at::Tensor image = pixels.to(device, at::kFloat).div_(127.5).sub_(1).unsqueeze(0);
    const at::Tensor mean = vae.encode(image).chunk(2, 1)[0].to(at::kDouble);
    count += static_cast<double>(mean.numel());
    sum += mean.sum().item<double>();
    squares += mean.square().sum().item<double>();
  }
  return 1 / std::sqrt(squares / count - (sum / count) * (sum / count));
}

}  // namespace kessoku::runtime
