#include "runtime/training/parameter_gather.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/full.h>
#include <ATen/ops/randn.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

#include "model/networks/init.h"
#include "model/networks/text_encoder.h"
#include "model/networks/unet.h"
#include "model/networks/vae.h"
#include "model/stable_diffusion/presets.h"

namespace kessoku::runtime {
namespace {

/// Rank 0 of two whose other rank's weights are late: they are there when somebody waits for them,
/// and nonsense before.
class LateCommunicator : public Communicator {
 public:
  class Late : public Pending {
   public:
    Late(at::Tensor room, int& awaited)
        : room_(std::move(room)), late_(room_.clone()), awaited_(awaited) {
      room_.fill_(std::numeric_limits<float>::quiet_NaN());
    }
    void wait() override {
      if (done()) return;
      room_.copy_(late_);
      late_.reset();
      ++awaited_;
    }
    bool done() const override { return !late_.defined(); }

   private:
    at::Tensor room_, late_;
    int& awaited_;
  };

  int rank() const override { return 0; }
  int size() const override { return 2; }
  int local_rank() const override { return 0; }
  int local_size() const override { return 1; }
  std::unique_ptr<Pending> all_gather(const at::Tensor& part, at::Tensor& whole) override {
    return std::make_unique<Late>(whole.narrow(0, part.numel(), part.numel()), awaited);
  }
  std::unique_ptr<Pending> all_reduce(at::Tensor&) override { return nullptr; }
  std::unique_ptr<Pending> reduce_scatter(const std::vector<at::Tensor>&, at::Tensor&,
                                          const SummationTree&, Wire) override {
    return nullptr;
  }
  std::unique_ptr<Pending> broadcast(at::Tensor&, int) override { return nullptr; }
  std::unique_ptr<Pending> shift(const at::Tensor&, at::Tensor&, int) override { return nullptr; }
  void barrier() override {}

  int awaited = 0;
};

/// What `forward` of a network returns must not depend on whether its weights were there before it
/// or come late. Returns how many of the buckets were awaited when forward came to each block.
template <typename Network, typename Forward>
std::vector<int> awaited_by_block(Network& network, Forward forward) {
  const at::NoGradGuard no_grad;
  model::initialize_weights(network.parameters(), model::Network::kUNet, 1);
  const at::Tensor expected = forward();
  const Partition partition(flat_numel(flat_layout(network.parameters())), 4096, 2);
  FlatParameters flat(network.parameters(), partition.numel());
  LateCommunicator communicator;
  ParameterGather gathers(flat, partition, communicator);
  for (size_t i = 0; i < partition.buckets(); ++i) gathers.send(i);
  std::vector<int> awaited;
  network.set_before_use([&](std::span<const model::Parameter> used) {
    awaited.push_back(communicator.awaited);
    gathers.order(used);
  });
  EXPECT_TRUE(forward().equal(expected));
  awaited.push_back(communicator.awaited);
  EXPECT_EQ(awaited.back(), static_cast<int>(partition.buckets()));
  return awaited;
}

TEST(ParameterGather, AUnetAwaitsEachBlocksWeightsWhenItComesToThem) {
  model::UNet unet(model::find_preset("tiny").unet);
  const at::Tensor sample = at::randn({1, 16, 8, 8}), text = at::randn({1, 7, 64}),
                   time = at::full({1}, 10);
  const std::vector<int> awaited =
      awaited_by_block(unet, [&] { return unet.forward(sample, time, text); });
  ASSERT_EQ(awaited.size(), 1 + 2 + 1 + 2 + 1 + 1);
  EXPECT_EQ(awaited.front(), 0);
  EXPECT_TRUE(std::ranges::is_sorted(awaited));
  EXPECT_LT(awaited[3], awaited.back() / 2);  // at the middle block
}

TEST(ParameterGather, ATextEncoderAwaitsLayerByLayer) {
  model::TextEncoder encoder(model::find_preset("tiny").text_encoder);
  const at::Tensor ids = at::arange(20).reshape({2, 10});
  const std::vector<int> awaited = awaited_by_block(encoder, [&] { return encoder.forward(ids); });
  ASSERT_EQ(awaited.size(), 1 + 2 + 1 + 1);
  EXPECT_EQ(awaited.front(), 0);
  EXPECT_LT(awaited[1], awaited[2]);
}

TEST(ParameterGather, AnAutoencoderAwaitsItsDecodersWeightsAfterEncoding) {
  model::Vae vae(model::find_preset("tiny").vae);
  const at::Tensor images = at::randn({1, 3, 16, 16});
  const std::vector<int> awaited =
      awaited_by_block(vae, [&] { return vae.decode(vae.encode(images).chunk(2, 1)[0]); });
  ASSERT_EQ(awaited.size(), 3);
  EXPECT_EQ(awaited[0], 0);
  EXPECT_LT(awaited[1], awaited[2]);
}

TEST(ParameterGather, LeavesParametersAloneThatAreNotTrained) {
  const model::Parameters trained{{"a", at::randn({32})}}, others{{"b", at::randn({32})}};
  const Partition partition(32, 32, 2);
  const FlatParameters flat(trained, partition.numel());
  LateCommunicator communicator;
  ParameterGather gathers(flat, partition, communicator);
  gathers.send(0);
  EXPECT_FALSE(gathers.order(others));
  EXPECT_EQ(communicator.awaited, 0);
  gathers.await_all();
  EXPECT_EQ(communicator.awaited, 1);
  EXPECT_FALSE(trained[0].tensor.isnan().any().item<bool>());
}

}  // namespace
}  // namespace kessoku::runtime
