#include "runtime/planning/step_time_model.h"

#include <gtest/gtest.h>

#include "runtime/planning/memory_plan.h"

namespace kessoku::runtime {
namespace {

constexpr double kClose = 1e-12;

/// Two buckets of 100 elements over two ranks at 100 bytes a second: 2 s a bucket in f32.
NetworkModel network() { return {.link = 100, .latency = 0}; }
Traffic traffic() { return {.buckets = {100, 100}}; }

TEST(Network, ARankSendsAllPartsButItsOwn) {
  const NetworkModel network{.link = 100, .latency = 0.5};
  EXPECT_DOUBLE_EQ(network.exchange_seconds(1, 400), 0);
  EXPECT_DOUBLE_EQ(network.exchange_seconds(4, 400), 3 * 0.5 + 3.0);
  EXPECT_DOUBLE_EQ(network.short_sum_seconds(8), 2 * 3 * 0.5);
}

TEST(Network, RanksOfAHostShareItsLinkUnlessRingsCrossItOnce) {
  const NetworkModel direct{.link = 100, .ranks_per_host = 2, .local_link = 1000};
  EXPECT_NEAR(direct.exchange_seconds(4, 400), 2 * 2 * 100 / 100.0, kClose);
  EXPECT_NEAR(direct.exchange_seconds(2, 400), 200 / 1000.0, kClose);
  NetworkModel rings = direct;
  rings.rings = true;
  EXPECT_NEAR(rings.exchange_seconds(4, 400), 3 * 100 / 100.0, kClose);
  EXPECT_NEAR(rings.exchange_seconds(2, 400), 200 / 1000.0, kClose);
}

TEST(Network, ATreeCrossesAHostsLinkOnceAPart) {
  const NetworkModel hosts{.link = 100, .ranks_per_host = 2, .local_link = 1000};
  EXPECT_NEAR(hosts.tree_seconds(4, 400), 2 * 100 / 1000.0 + 2 * 100 / 100.0, kClose);
  EXPECT_NEAR(hosts.tree_seconds(2, 400), 200 / 1000.0, kClose);
  const NetworkModel alone{.link = 100, .latency = 0.5};
  EXPECT_NEAR(alone.tree_seconds(4, 400), alone.exchange_seconds(4, 400), kClose);
}

TEST(Scaling, OneRankOnlyComputes) {
  const StepCosts costs{.forward = 1, .backward = 2, .norm = 0.2, .update = 0.3};
  const StepPrediction step = predict_step(costs, 2, traffic(), network(), 1);
  EXPECT_NEAR(step.seconds, 2 * 3 + 0.2 + 0.3, kClose);
  EXPECT_NEAR(step.exposed, 0, kClose);
}

TEST(Scaling, BackwardHidesWhatIsSentWhileItRuns) {
  const StepCosts costs{.forward = 1, .backward = 8, .ready = {0.25, 1}};
  // The first bucket goes at 2 s and arrives at 4; the second when backward is over, in 2 s. Then
  // the weights, 2 s a bucket, of which the second is needed half a second after the first.
  const StepPrediction step = predict_step(costs, 1, traffic(), network(), 2);
  EXPECT_NEAR(step.communication, 2 + 2 + 2 + 2, kClose);
  EXPECT_NEAR(step.exposed, 2 + 3.5, kClose);
  EXPECT_NEAR(step.seconds, 9 + 5.5, kClose);
}

TEST(Scaling, ForwardHidesWeightsThatItNeedsLater) {
  const StepCosts costs{.forward = 4, .needed = {0, 0.75}};
  // Gradients 4 s; the first weights 2 s; the others arrive 2 s later, and are needed 3 s later.
  EXPECT_NEAR(predict_step(costs, 1, traffic(), network(), 2).exposed, 4 + 2, kClose);
  EXPECT_NEAR(predict_step({.forward = 4, .needed = {1, 1}}, 1, traffic(), network(), 2).exposed, 4,
              kClose);
  EXPECT_NEAR(predict_step({.forward = 4, .needed = {0, 0}}, 1, traffic(), network(), 2).exposed,
              4 + 4, kClose);
}

TEST(Scaling, WithoutOverlapAllIsSentAfterBackward) {
  const StepCosts costs{.forward = 1, .backward = 8, .ready = {0.25, 1}};
  Traffic late = traffic();
  late.overlap = false;
  EXPECT_NEAR(predict_step(costs, 1, late, network(), 2).exposed, 4 + 4, kClose);
}

TEST(Scaling, ABucketsWeightsTravelWhileTheNextIsStepped) {
  const StepCosts costs{.update = 6};  // 3 s a bucket
  EXPECT_NEAR(predict_step(costs, 1, traffic(), network(), 2).exposed, 4 + 2, kClose);
}

TEST(Scaling, SumsWithoutSiblingsAreSentApart) {
  RunConfig config;  // 12 micro-batches
  config.train.global_batch = 12;
  config.train.micro_batch = 1;
  EXPECT_EQ(traffic_of(config, 1, 12).blocks, 1);
  EXPECT_EQ(traffic_of(config, 1, 6).blocks, 1);
  EXPECT_EQ(traffic_of(config, 1, 4).blocks, 2) << "three each: a pair and one";
  config.communication.reduction = "fast";
  EXPECT_EQ(traffic_of(config, 1, 4).blocks, 1);
  Traffic twice = traffic();
  twice.blocks = 2;
  EXPECT_NEAR(predict_step({}, 1, twice, network(), 2).communication, 2 * 4 + 4, kClose);
}

TEST(Scaling, HalfTheBytesTakeHalfTheTime) {
  Traffic half = traffic();
  half.gradient_bytes = half.weight_bytes = 2;
  EXPECT_NEAR(predict_step({}, 1, half, network(), 2).communication, 4, kClose);
}

TEST(Scaling, UnshardedGradientsAreAllReducedAndNoWeightsSent) {
  Traffic whole = traffic();
  whole.shard = false;
  EXPECT_NEAR(predict_step({}, 1, whole, network(), 2).communication, 2 * 4, kClose);
  whole.gradient_bytes = 2;  // there in bf16, back in f32
  EXPECT_NEAR(predict_step({}, 1, whole, network(), 2).communication, 2 * (1 + 2), kClose);
}

TEST(Scaling, TrafficIsWhatTheRunFileSays) {
  RunConfig config;
  config.communication.bucket_mb = 1;
  config.communication.wire = "bf16";
  config.train.precision = "bf16";
  const Traffic traffic = traffic_of(config, 300000, 2);
  ASSERT_EQ(traffic.buckets.size(), 2);
  EXPECT_EQ(traffic.buckets[0], 262144);
  EXPECT_EQ(traffic.buckets[0] + traffic.buckets[1], 301056) << "whole blocks for both ranks";
  EXPECT_EQ(traffic.gradient_bytes, 2);
  EXPECT_EQ(traffic.weight_bytes, 2);
}

TEST(MemoryPlan, ShardsWhatTheOptimizerOwns) {
  RunConfig config;
  config.verify.every_steps = 0;
  config.checkpoint.background = false;
  const MemoryInputs inputs{.trained = 1 << 20};
  const uint64_t all = 4u << 20;  // bytes in f32
  const MemoryPlan one = plan_memory(config, inputs, 1), four = plan_memory(config, inputs, 4);
  EXPECT_EQ(one.peak, all + all + 2 * all);
  EXPECT_EQ(four.moments, 2 * all / 4);
  EXPECT_EQ(four.wire, all);  // less than one bucket of 25 MiB
  EXPECT_EQ(four.peak, all + all + all / 2 + all);
  config.optimizer.shard = false;
  EXPECT_EQ(plan_memory(config, inputs, 4).moments, 2 * all);
}

TEST(MemoryPlan, Bf16KeepsACopyInFp32AndBeginsWithWholeWeights) {
  RunConfig config;
  config.checkpoint.background = false;
  config.train.precision = "bf16";
  config.ema.decay = 0.9;
  config.verify.every_steps = 0;
  const uint64_t all = 4u << 20;
  const MemoryPlan plan = plan_memory(config, {.trained = 1 << 20}, 2);
  EXPECT_EQ(plan.weights, all / 2);
  EXPECT_EQ(plan.master, all / 2);
  EXPECT_EQ(plan.ema, all / 2);
  EXPECT_EQ(plan.gathered, all);  // one bucket, which is all
  EXPECT_EQ(plan.snapshot, 0);
  // Weights, gradients, moments, master, averages; then the bucket on the wire and the whole
  // averages.
  EXPECT_EQ(plan.peak, all / 2 + all + all + all / 2 + all / 2 + all + all);
  config.validation.fraction = 0.1;  // averages come a bucket at a time, and go likewise
  EXPECT_EQ(plan_memory(config, {.trained = 1 << 20}, 2).peak, plan.peak);
  config.checkpoint.background = true;
  EXPECT_EQ(plan_memory(config, {.trained = 1 << 20}, 2).snapshot, (4 * all + all / 2) / 2);
}

TEST(MemoryPlan, OneBf16BackwardAStepNeedsNoGradientBuffer) {
  RunConfig config;
  config.verify.every_steps = 0;
  config.checkpoint.background = false;
  config.train.precision = "bf16";
  config.ema.decay = 0.9;
  const uint64_t all = 4u << 20;
  const MemoryInputs inputs{.trained = 1 << 20, .frozen = 1000, .activations = 3 * all};
  const MemoryPlan plan = plan_memory(config, inputs, 1);
  EXPECT_EQ(plan.gradients, 0);
  EXPECT_EQ(plan.peak, 1000 + all / 2 + 4 * all + 3 * all);
  EXPECT_STREQ(plan.peak_at, "a step");
  EXPECT_EQ(plan_memory(config, {.trained = 1 << 20}, 1).peak, all / 2 + 4 * all + all)
      << "the bucket of averages for a checkpoint is more than bf16 gradients";
  config.train.micro_batch = 2;
  EXPECT_EQ(plan_memory(config, inputs, 1).gradients, all) << "two are added, in backward";
  config.train.micro_batch = 1;
  EXPECT_EQ(plan_memory(config, inputs, 1).gradients, 2 * all) << "a sum of two waits for another";
}

TEST(MemoryPlan, AGpuHasLibrariesAndFragments) {
  RunConfig config;
  config.verify.every_steps = 0;
  const uint64_t all = 4u << 20;
  const MemoryInputs inputs{
      .trained = 1 << 20, .batch = 1 << 30, .activations = 20 * all, .program = 1, .gpu = true};
  const MemoryPlan one = plan_memory(config, inputs, 1), two = plan_memory(config, inputs, 2);
  EXPECT_EQ(one.program, gpu_libraries(1));
  EXPECT_GT(two.program, one.program) << "NCCL's";
  EXPECT_EQ(one.fragmentation, 2 * all);
  EXPECT_EQ(one.peak, one.program + one.fragmentation + 4 * all + 20 * all)
      << "batches and copies for checkpoints are the host's";
  EXPECT_EQ(one.tensors(), 24 * all);
  // Weights as they were loaded, and in the flat buffer: more than all that eight ranks keep.
  config.train.global_batch = 8;
  config.optimizer.name = "lion";
  const MemoryPlan eight =
      plan_memory(config, {.trained = 1 << 20, .frozen = 8 * all, .gpu = true}, 8);
  EXPECT_GE(eight.peak, eight.program + 8 * all + 2 * all);
}

TEST(MemoryPlan, VerificationHoldsABucketsPartOfEveryRank) {
  RunConfig config;
  config.checkpoint.background = false;
  const uint64_t all = 4u << 20;  // one bucket, in fp32
  const auto bytes = [&](int ranks) {
    return plan_memory(config, {.trained = 1 << 20}, ranks).verification;
  };
  // Gradients, weights and two moments, of the other ranks and twice of the own one.
  EXPECT_EQ(bytes(1), 8 * all);
  EXPECT_EQ(bytes(4), 20 * all / 4);
  config.optimizer.shard = false;
  config.ema.decay = 0.9;
  EXPECT_EQ(bytes(4), 25 * all);
  // Weights, gradients, moments, averages and the bucket on the wire; whole averages are less.
  EXPECT_EQ(plan_memory(config, {.trained = 1 << 20}, 4).peak, 5 * all + all + 25 * all);
}

}  // namespace
}  // namespace kessoku::runtime
