// A GPU's memory at the size of Stable Diffusion 1.5, by allocations on the meta device, which
// knows shapes alone. tests/distributed/gpu_memory_test.py compares the plan with whole runs.
#include "runtime/planning/gpu_memory.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "model/networks/meta_kernels.h"
#include "model/pipeline/inpainting.h"
#include "model/stable_diffusion/presets.h"
#include "runtime/planning/allocation_tracker.h"
#include "runtime/planning/compute_memory.h"
#include "runtime/planning/meta_allocator.h"
#include "runtime/run/precision.h"
#include "runtime/training/parameter_settings.h"
#include "runtime/training/trainer.h"
#include "tests/paths.h"

namespace kessoku::runtime {
namespace {

constexpr uint64_t kAim = 23'000'000'000;                                 // bytes
constexpr uint64_t kCard = (uint64_t{24} << 30) - (uint64_t{300} << 20);  // that CUDA gives away

model::StableDiffusion make_model(model::UNetConfig unet = {}) {
  const model::Preset shapes = model::find_preset("sd15");
  if (unet.in_channels == shapes.unet.in_channels) unet = shapes.unet;
  return {model::UNet(unet, at::kMeta), model::TextEncoder(shapes.text_encoder, at::kMeta),
          model::Vae(shapes.vae, at::kMeta),
          model::Tokenizer::load(std::filesystem::path(tests::source_folder()) /
                                 "models/clip-tokenizer"),
          shapes.schedule};
}

const model::StableDiffusion& sd15() {
  static const model::StableDiffusion model = make_model();
  return model;
}

/// UNet and text encoder with averages, four draws at once, sample prompts and validation; in the
/// precision that a GPU has unless another is chosen.
RunConfig everything() {
  RunConfig config;
  settle_precision(config, at::kCUDA);
  config.ema.decay = 0.9999;
  config.validation.fraction = 0.02;
  config.validation.every_steps = 500;
  config.sample.prompts = {"two girls on a stage"};
  config.sample.every_steps = 1000;
  return config;
}

const std::vector<data::Bucket> kBuckets{{448, 576}, {512, 512}, {576, 448}};

MemoryPlan plan_of(const RunConfig& config, int ranks = 1) {
  return plan_gpu_memory(config, kBuckets, sd15(), ranks).value();
}

TEST(GpuMemory, OneCardOf24GBTrainsBothNetworksWithAverages) {
  RunConfig config = everything();
  config.train.gradient_checkpointing = true;
  const MemoryPlan recomputed = plan_of(config);
  EXPECT_LT(recomputed.peak, kAim);
  EXPECT_EQ(recomputed.gradients, 0);
  EXPECT_GT(recomputed.activations, recomputed.weights) << "bf16 gradients among them";
  EXPECT_GT(recomputed.sampling, uint64_t{500} << 20) << "512 x 512 pixels through the VAE";
  config.train.gradient_checkpointing = false;
  const MemoryPlan stored = plan_of(config);
  EXPECT_LT(stored.tensors(), kAim);
  EXPECT_LT(stored.peak, kCard);
  EXPECT_GT(stored.peak, recomputed.peak + (uint64_t{1} << 30));
  config.train.precision = "fp32";
  EXPECT_GT(plan_of(config).tensors(), kCard);
  config.train.precision = "bf16";
  config.train.micro_batch = 1;  // sums of gradients in fp32, two of them
  EXPECT_GT(plan_of(config).tensors(), kCard);
}

TEST(GpuMemory, ActivationsGrowWithDrawsAndShrinkWhenRecomputed) {
  RunConfig config = everything();
  config.train.target = {"text_encoder"};  // gradients are small beside activations
  const auto traced = [&](uint64_t draws, bool recomputed) {
    config.train.global_batch = config.train.micro_batch = draws;
    config.train.gradient_checkpointing = recomputed;
    return trace_compute_memory(config, sd15(), kBuckets, 1);
  };
  const ComputeMemory two = traced(2, false), four = traced(4, false), recomputed = traced(4, true);
  EXPECT_NEAR(static_cast<double>(four.step) / static_cast<double>(two.step), 2, 0.15);
  EXPECT_LT(recomputed.step, four.step / 2);
  EXPECT_LT(four.no_grad, recomputed.step);
  EXPECT_EQ(four.batch, 2 * two.batch);
  EXPECT_EQ(four.sampling, two.sampling);
  // Latents, noise, timesteps, loss scales and token ids.
  EXPECT_EQ(two.batch, 2 * (2 * 4 * 64 * 64 * 4 + 8 + 4 + 77 * 8));
}

TEST(GpuMemory, IsKnownOfInpaintingModelsToo) {
  RunConfig config = everything();
  config.train.min_snr_gamma = 5;
  config.train.inpainting = true;
  model::UNetConfig wide = model::find_preset("sd15").unet;
  wide.in_channels = 9;
  EXPECT_GT(trace_compute_memory(config, make_model(wide), kBuckets, 1).step, uint64_t{1} << 30);
}

TEST(GpuMemory, IsKnownOfTheAutoencodersTrainingToo) {
  RunConfig config;
  config.train.target = {"vae"};
  config.train.precision = "bf16";
  config.train.global_batch = config.train.micro_batch = 1;
  config.vae.l2_weight = config.vae.gradient_weight = 1;
  const ComputeMemory one = trace_compute_memory(config, sd15(), kBuckets, 1);
  // Its decoder has 30 activations of 128 to 256 channels at 512 x 512 pixels.
  EXPECT_GT(one.step, uint64_t{2} << 30);
  EXPECT_LT(one.no_grad, one.step / 2);
}

class NoObjective : public Objective {
 public:
  at::Tensor losses(const data::Batch&) override { return {}; }
  void set_before_use(const model::BeforeUse&) override {}
};

/// The trainer of `config`, made of networks at full size.
void expect_planned(const RunConfig& config) {
  const MemoryPlan plan = plan_of(config);
  count_meta_tensors();
  AllocationTracker tracker;
  const model::StableDiffusion model = make_model();
  const auto bucket = static_cast<uint64_t>(bucket_numel(config)) * sizeof(float);
  const uint64_t stays =
      plan.weights + plan.frozen + plan.gradients + plan.moments + plan.master + plan.ema;
  tracker.restart_peak();
  NoObjective objective;
  const std::unique_ptr<Communicator> alone = make_solo_communicator();
  Trainer trainer(config, trained_parameters(config, model), objective, {}, Audit({}, 0, *alone),
                  *alone);
  EXPECT_EQ(static_cast<uint64_t>(tracker.live()), stays) << "between steps";
  EXPECT_LE(static_cast<uint64_t>(tracker.peak()), plan.tensors()) << "the start";
  EXPECT_LE(static_cast<uint64_t>(tracker.peak()), stays + bucket) << "averages after rounding";

  const auto more = [&](const auto& work) {
    tracker.restart_peak();
    work();
    EXPECT_EQ(static_cast<uint64_t>(tracker.live()), stays);
    return static_cast<uint64_t>(tracker.peak()) - stays;
  };
  EXPECT_EQ(more([&] { trainer.resume_at(trainer.state()); }), 0) << "a resume";
  EXPECT_LE(more([&] { trainer.with_published([] {}); }), bucket) << "sample prompts, validation";
  EXPECT_LE(more([&] { trainer.visit_published([](const Range&, const at::Tensor&) {}); }), bucket)
      << "a checkpoint";
}

TEST(GpuMemory, TheTrainerTakesWhatIsPlanned) {
  RunConfig config = everything();
  expect_planned(config);
  config.train.micro_batch = 1;
  config.communication.reduction = "fast";  // a single buffer
  expect_planned(config);
  config.train.precision = "fp32";
  expect_planned(config);
  config.ema.decay = 0;
  expect_planned(config);
}

}  // namespace
}  // namespace kessoku::runtime
