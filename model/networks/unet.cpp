#include "model/networks/unet.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/silu.h>

#include <cmath>

#include "base/error.h"
#include "model/networks/unet_blocks.h"

namespace kessoku::model {

namespace {

/// The sinusoids of Vaswani et al. (2017) for timesteps (B): (B, channels).
at::Tensor timestep_embedding(const at::Tensor& timesteps, int64_t channels,
                              const UNetConfig& config) {
  const int64_t half = channels / 2;
  const at::Tensor exponents = -std::log(10000.0) *
                               at::arange(half, timesteps.options().dtype(at::kFloat)) /
                               (static_cast<double>(half) - config.freq_shift);
  const at::Tensor angles = timesteps.to(at::kFloat).unsqueeze(1) * exponents.exp().unsqueeze(0);
  const at::Tensor embedding = config.flip_sin_to_cos ? at::cat({angles.cos(), angles.sin()}, 1)
                                                      : at::cat({angles.sin(), angles.cos()}, 1);
  return channels % 2 == 0 ? embedding : at::constant_pad_nd(embedding, {0, 1});
}

bool has_attention(const std::string& block_type) {
  return block_type.find("CrossAttn") != std::string::npos;
}

/// The value of a block: of one for all, or of its own.
int64_t at_level(const std::vector<int64_t>& values, size_t level) {
  return values[values.size() == 1 ? 0 : level];
}

int64_t time_channels(const UNetConfig& config) {
  return config.time_embedding_dim > 0 ? config.time_embedding_dim
                                       : 4 * config.block_out_channels[0];
}

BlockShape block_shape(const UNetConfig& config, size_t level, bool attention) {
  return {.time_channels = time_channels(config),
          .layers = at_level(config.layers_per_block, level),
          .groups = config.norm_num_groups,
          .eps = config.norm_eps,
          .attention = attention,
          .transformer = {.context_channels = config.cross_attention_dim,
                          .heads = at_level(config.attention_heads, level),
                          .layers = at_level(config.transformer_layers_per_block, level),
                          .groups = config.norm_num_groups,
                          .linear_projection = config.use_linear_projection}};
}

}  // namespace

struct UNet::Impl {
  Impl(const UNetConfig& config, at::Device device);

  UNetConfig config;
  bool checkpointing = false;
  ForwardHook notice;
  Parameters parameters;
  ParameterScope root;
  Conv2d conv_in;
  Linear time_linear_1, time_linear_2;
  std::vector<UNetDownBlock> down_blocks;
  std::optional<UNetMidBlock> mid_block;
  std::vector<UNetUpBlock> up_blocks;
  std::optional<GroupNorm> norm_out;
  std::optional<Conv2d> conv_out;
};

UNet::Impl::Impl(const UNetConfig& config, at::Device device)
    : config(config),
      root(parameters, "", device),
      conv_in(root / "conv_in", config.in_channels, config.block_out_channels[0], 3, 1, 1),
      time_linear_1(root / "time_embedding.linear_1", config.block_out_channels[0],
                    time_channels(config)),
      time_linear_2(root / "time_embedding.linear_2", time_channels(config),
                    time_channels(config)) {
  const std::vector<int64_t>& channels = config.block_out_channels;
  const size_t levels = channels.size();
  notice.end_block(parameters);
  for (size_t i = 0; i < levels; ++i) {
    down_blocks.emplace_back(root / "down_blocks" / i, channels[i == 0 ? 0 : i - 1], channels[i],
                             i + 1 < levels,
                             block_shape(config, i, has_attention(config.down_block_types[i])));
    notice.end_block(parameters);
  }
  if (!config.mid_block_type.empty()) {
    mid_block.emplace(root / "mid_block", channels.back(),
                      block_shape(config, levels - 1, has_attention(config.mid_block_type)));
  }
  notice.end_block(parameters);
  for (size_t i = 0; i < levels; ++i) {
    const size_t level = levels - 1 - i;
    BlockShape shape = block_shape(config, level, has_attention(config.up_block_types[i]));
    shape.layers += 1;  // one more, for the output of the level's downsampler
    up_blocks.emplace_back(root / "up_blocks" / i, channels[std::min(level + 1, levels - 1)],
                           channels[level], channels[level == 0 ? 0 : level - 1], level > 0, shape);
    notice.end_block(parameters);
  }
  norm_out.emplace(root / "conv_norm_out", config.norm_num_groups, channels[0], config.norm_eps);
  conv_out.emplace(root / "conv_out", channels[0], config.out_channels, 3, 1, 1);
  notice.end_block(parameters);
}

UNet::UNet(const UNetConfig& config, at::Device device)
    : impl_(std::make_unique<Impl>(config, device)) {}
UNet::UNet(UNet&&) noexcept = default;
UNet& UNet::operator=(UNet&&) noexcept = default;
UNet::~UNet() = default;

at::Tensor UNet::forward(const at::Tensor& sample, const at::Tensor& timesteps,
                         const at::Tensor& encoder_hidden_states) const {
  const Impl& net = *impl_;
  size_t block_index = 0;
  const auto next_block = [&] { net.notice.announce(block_index++, net.parameters); };
  next_block();
  const at::ScalarType dtype = net.conv_in.weight.scalar_type();
  at::Tensor time =
      timestep_embedding(timesteps, net.config.block_out_channels[0], net.config).to(dtype);
  time = net.time_linear_2(at::silu(net.time_linear_1(time)));
  const Conditioning conditioning{at::silu(time), encoder_hidden_states.to(dtype),
                                  net.checkpointing};

  at::Tensor x = net.conv_in(to_channels_last(sample.to(dtype)));
  Tensors skips{x};
  for (const UNetDownBlock& block : net.down_blocks) {
    next_block();
    x = block(x, conditioning, skips);
  }
  next_block();
  if (net.mid_block) x = (*net.mid_block)(x, conditioning);
  for (const UNetUpBlock& block : net.up_blocks) {
    next_block();
    x = block(x, conditioning, skips);
  }
  next_block();
  return (*net.conv_out)(at::silu((*net.norm_out)(x))).contiguous();
}

void UNet::set_gradient_checkpointing(bool on) { impl_->checkpointing = on; }
void UNet::set_before_use(BeforeUse before_use) {
  impl_->notice.before_use = std::move(before_use);
}
const UNetConfig& UNet::config() const { return impl_->config; }
const Parameters& UNet::parameters() const { return impl_->parameters; }

}  // namespace kessoku::model
