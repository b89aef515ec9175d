#include "model/networks/vae.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/clamp.h>

#include "model/networks/vae_blocks.h"

namespace kessoku::model {

namespace {

/// A convolution that some configs leave out.
std::optional<Conv2d> pointwise_if(bool wanted, const ParameterScope& scope, int64_t channels) {
  if (!wanted) return std::nullopt;
  return Conv2d(scope, channels, channels, 1);
}

}  // namespace

struct Vae::Impl {
  Impl(const VaeConfig& config, at::Device device)
      : config(config),
        root(parameters, "", device),
        encoder(root / "encoder", config),
        quant_conv(
            pointwise_if(config.use_quant_conv, root / "quant_conv", 2 * config.latent_channels)) {
    notice.end_block(parameters);
    post_quant_conv =
        pointwise_if(config.use_post_quant_conv, root / "post_quant_conv", config.latent_channels);
    decoder.emplace(root / "decoder", config);
    notice.end_block(parameters);
  }

  at::ScalarType dtype() const { return encoder.conv_in.weight.scalar_type(); }

  VaeConfig config;
  bool checkpointing = false;
  ForwardHook notice;
  Parameters parameters;
  ParameterScope root;
  VaeEncoder encoder;
  std::optional<Conv2d> quant_conv;
  std::optional<Conv2d> post_quant_conv;
  std::optional<VaeDecoder> decoder;
};

Vae::Vae(const VaeConfig& config, at::Device device)
    : impl_(std::make_unique<Impl>(config, device)) {}
Vae::Vae(Vae&&) noexcept = default;
Vae& Vae::operator=(Vae&&) noexcept = default;
Vae::~Vae() = default;

at::Tensor Vae::encode(const at::Tensor& images) const {
  impl_->notice.announce(0, impl_->parameters);
  at::Tensor moments =
      impl_->encoder(to_channels_last(images.to(impl_->dtype())), impl_->checkpointing);
  if (impl_->quant_conv) moments = (*impl_->quant_conv)(moments);
  const std::vector<at::Tensor> halves = moments.chunk(2, 1);
  return at::cat({halves[0], halves[1].clamp(-30.0, 20.0)}, 1).contiguous();
}

at::Tensor Vae::decode(const at::Tensor& latents) const {
  impl_->notice.announce(1, impl_->parameters);
  at::Tensor x = to_channels_last(latents.to(impl_->dtype()));
  if (impl_->post_quant_conv) x = (*impl_->post_quant_conv)(x);
  return (*impl_->decoder)(x, impl_->checkpointing).contiguous();
}

void Vae::set_gradient_checkpointing(bool on) { impl_->checkpointing = on; }
void Vae::set_before_use(BeforeUse before_use) { impl_->notice.before_use = std::move(before_use); }

VaeConfig& Vae::config() { return impl_->config; }
const VaeConfig& Vae::config() const { return impl_->config; }
const Parameters& Vae::parameters() const { return impl_->parameters; }

}  // namespace kessoku::model
