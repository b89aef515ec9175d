#include "model/networks/checkpointing.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/sum.h>
#include <ATen/ops/tanh.h>
#include <ATen/ops/zeros.h>
#include <c10/core/Allocator.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/variable.h>

#include <map>

#include "model/networks/init.h"
#include "model/networks/text_encoder.h"
#include "model/networks/unet.h"
#include "model/networks/vae.h"

namespace kessoku::model {
namespace {

/// The largest amount of tensor memory that this thread has held, above what it held at first.
class PeakMemory : public c10::MemoryReportingInfoBase {
 public:
  void reportMemoryUsage(void*, int64_t bytes, size_t, size_t, c10::Device) override {
    held_ += bytes;
    peak_ = std::max(peak_, held_);
  }
  bool memoryProfilingEnabled() const override { return true; }
  int64_t bytes() const { return peak_; }

 private:
  int64_t held_ = 0, peak_ = 0;
};

struct CountHook : torch::autograd::PostAccumulateGradHook {
  explicit CountHook(int& count) : count(count) {}
  void operator()(const at::Tensor&) override { ++count; }
  int& count;
};

/// What a backward pass leaves behind.
struct Outcome {
  at::Tensor output;
  Tensors gradients;                 ///< of the parameters, then of the inputs that want one
  std::map<std::string, int> hooks;  ///< how often each parameter's gradient was announced
  int64_t peak_bytes = 0;
};

/// Forward and backward with gradients as views of one flat buffer, as training has them.
Outcome run(const Parameters& parameters, const Tensors& inputs,
            const std::function<at::Tensor()>& forward) {
  Outcome outcome;
  at::Tensor flat = at::zeros({count_elements(parameters)});
  int64_t offset = 0;
  for (const auto& [name, tensor] : parameters) {
    tensor.set_requires_grad(true);
    tensor.mutable_grad() = flat.narrow(0, offset, tensor.numel()).view(tensor.sizes());
    offset += tensor.numel();
    torch::autograd::impl::set_post_acc_grad_hooks(
        tensor, std::make_unique<CountHook>(outcome.hooks[name]));
  }
  for (const at::Tensor& input : inputs) input.mutable_grad().reset();
  const auto memory = std::make_shared<PeakMemory>();
  {
    const c10::DebugInfoGuard guard(c10::DebugInfoKind::PROFILER_STATE, memory);
    outcome.output = forward();
    outcome.output.square().sum().backward();
  }
  outcome.peak_bytes = memory->bytes();
  outcome.gradients.push_back(flat);
  for (const at::Tensor& input : inputs) outcome.gradients.push_back(input.grad());
  return outcome;
}

template <typename Module>
std::pair<Outcome, Outcome> run_both(Module& module, const Tensors& inputs,
                                     const std::function<at::Tensor()>& forward,
                                     const Parameters& trained) {
  module.set_gradient_checkpointing(false);
  Outcome plain = run(trained, inputs, forward);
  module.set_gradient_checkpointing(true);
  return {plain, run(trained, inputs, forward)};
}

void expect_same_bits(const Outcome& plain, const Outcome& checkpointed) {
  EXPECT_TRUE(at::equal(plain.output, checkpointed.output));
  ASSERT_EQ(plain.gradients.size(), checkpointed.gradients.size());
  for (size_t i = 0; i < plain.gradients.size(); ++i) {
    EXPECT_GT(plain.gradients[i].abs().max().item<double>(), 0);
    EXPECT_TRUE(at::equal(plain.gradients[i], checkpointed.gradients[i])) << i;
  }
  for (const auto& [name, count] : checkpointed.hooks) EXPECT_EQ(count, 1) << name;
}

struct SmallUNet {
  SmallUNet() : unet(config()) { initialize_weights(unet.parameters(), Network::kUNet, 1); }

  static UNetConfig config() {
    UNetConfig config;
    config.block_out_channels = {32, 64, 64};
    config.down_block_types = {"CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"};
    config.up_block_types = {"UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"};
    config.cross_attention_dim = 24;
    return config;
  }
  at::Tensor forward() const { return unet.forward(sample, timesteps, text); }

  UNet unet;
  at::Tensor sample = at::randn({2, 4, 19, 13});
  at::Tensor timesteps = at::randint(1000, {2}, at::kLong);
  at::Tensor text = at::randn({2, 11, 24}).set_requires_grad(true);
};

TEST(GradientCheckpointing, GivesTheUNetTheSameBitsForLessMemory) {
  SmallUNet small;
  const auto [plain, checkpointed] = run_both(
      small.unet, {small.text}, [&] { return small.forward(); }, small.unet.parameters());
  expect_same_bits(plain, checkpointed);
  EXPECT_LT(checkpointed.peak_bytes, plain.peak_bytes / 2);
}

// As when only the text encoder is trained: the gradient passes through.
TEST(GradientCheckpointing, PassesGradientsThroughAFrozenUNet) {
  SmallUNet small;
  const auto [plain, checkpointed] =
      run_both(small.unet, {small.text}, [&] { return small.forward(); }, {});
  EXPECT_TRUE(at::equal(plain.gradients[1], checkpointed.gradients[1]));
  EXPECT_GT(plain.gradients[1].abs().max().item<double>(), 0);
  for (const auto& [name, tensor] : small.unet.parameters()) EXPECT_FALSE(tensor.grad().defined());
}

TEST(GradientCheckpointing, GivesTheUNetTheSameBitsInBFloat16) {
  SmallUNet small;
  convert_parameters(small.unet.parameters(), at::kBFloat16);
  std::vector<Tensors> gradients;
  for (const bool on : {false, true}) {
    small.unet.set_gradient_checkpointing(on);
    for (const auto& [name, tensor] : small.unet.parameters()) {
      tensor.set_requires_grad(true);
      tensor.mutable_grad().reset();
    }
    small.forward().square().sum().backward();
    Tensors& all = gradients.emplace_back();
    for (const auto& [name, tensor] : small.unet.parameters()) all.push_back(tensor.grad());
  }
  for (size_t i = 0; i < gradients[0].size(); ++i) {
    EXPECT_TRUE(at::equal(gradients[0][i], gradients[1][i])) << small.unet.parameters()[i].name;
  }
}

TEST(GradientCheckpointing, GivesTheTextEncoderTheSameBitsForLessMemory) {
  TextEncoderConfig config;
  config.vocab_size = 100;
  config.hidden_size = 64;
  config.intermediate_size = 256;
  config.num_attention_heads = 4;
  config.num_hidden_layers = 8;
  TextEncoder encoder(config);
  initialize_text_encoder(encoder, 1);
  const at::Tensor ids = at::randint(100, {2, 77}, at::kLong);
  const auto [plain, checkpointed] = run_both(
      encoder, {}, [&] { return encoder.forward(ids); }, encoder.parameters());
  expect_same_bits(plain, checkpointed);
  EXPECT_LT(checkpointed.peak_bytes, plain.peak_bytes / 2);
}

TEST(GradientCheckpointing, GivesTheAutoencoderTheSameBitsForLessMemory) {
  VaeConfig config;
  config.block_out_channels = {32, 32, 64};
  config.down_block_types = {"DownEncoderBlock2D", "DownEncoderBlock2D", "AttnDownEncoderBlock2D"};
  config.up_block_types = {"AttnUpDecoderBlock2D", "UpDecoderBlock2D", "UpDecoderBlock2D"};
  Vae vae(config);
  initialize_weights(vae.parameters(), Network::kVae, 1);
  const at::Tensor images = at::rand({1, 3, 40, 24});
  const auto [plain, checkpointed] = run_both(
      vae, {}, [&] { return vae.decode(vae.encode(images).narrow(1, 0, 4)); }, vae.parameters());
  expect_same_bits(plain, checkpointed);
  EXPECT_LT(checkpointed.peak_bytes, 2 * plain.peak_bytes / 3);
}

TEST(GradientCheckpointing, RunsABlockAgainOnlyInBackward) {
  int runs = 0;
  const auto block = [&](const Tensors& in) {
    ++runs;
    return at::tanh(in[0]);
  };
  const at::Tensor x = at::randn({5}).set_requires_grad(true);
  const at::Tensor y = run_block(true, {x}, block);
  EXPECT_EQ(runs, 1);
  y.sum().backward();
  EXPECT_EQ(runs, 2);
  EXPECT_LT((x.grad() + y.detach().square() - 1).abs().max().item<double>(), 1e-6);

  const at::NoGradGuard no_grad;
  EXPECT_FALSE(run_block(true, {x}, block).requires_grad());
  EXPECT_EQ(runs, 3);
}

}  // namespace
}  // namespace kessoku::model
