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
  EXPECT_DOUBLE_EQ(network.exchange(1, 4).seconds(100), 0);
  EXPECT_DOUBLE_EQ(network.exchange(4, 4).seconds(100), 3 * 0.5 + 3.0);
  EXPECT_DOUBLE_EQ(network.short_sum_seconds(8), 2 * 3 * 0.5);
}

TEST(Network, RanksOfAHostShareItsLinkUnlessRingsCrossItOnce) {
  const NetworkModel direct{.link = 100, .ranks_per_host = 2, .local_link = 1000};
  EXPECT_NEAR(direct.exchange(4, 4).seconds(100), 2 * 2 * 100 / 100.0, kClose);
  EXPECT_NEAR(direct.exchange(4, 4).bytes_out(100), 2 * 2 * 100, kClose);
  EXPECT_NEAR(direct.exchange(2, 4).seconds(100), 200 / 1000.0, kClose);
  EXPECT_EQ(direct.exchange(2, 4).bytes_out(100), 0);
  NetworkModel rings = direct;
  rings.rings = true;
  EXPECT_NEAR(rings.exchange(4, 4).seconds(100), 3 * 100 / 100.0, kClose);
  EXPECT_NEAR(rings.exchange(4, 4).bytes_out(100), 3 * 100, kClose);
  EXPECT_NEAR(rings.exchange(2, 4).seconds(100), 200 / 1000.0, kClose);
  EXPECT_EQ(rings.exchange(2, 4).bytes_out(100), 0);
}

TEST(Network, ATreeCrossesAHostsLinkOnceAPart) {
  const NetworkModel hosts{.link = 100, .ranks_per_host = 2, .local_link = 1000};
  const auto over = [](int ranks) { return SummationTree::over_ranks(ranks); };
  EXPECT_NEAR(hosts.tree_exchange(over(4), 4).seconds(100), 2 * 100 / 1000.0 + 2 * 100 / 100.0,
              kClose);
  EXPECT_NEAR(hosts.tree_exchange(over(4), 4).bytes_out(100), 2 * 100, kClose);
  EXPECT_NEAR(hosts.tree_exchange(over(2), 4).seconds(100), 200 / 1000.0, kClose);
  const NetworkModel alone{.link = 100, .latency = 0.5};
  EXPECT_NEAR(alone.tree_exchange(over(4), 4).seconds(100), alone.exchange(4, 4).seconds(100),
              kClose);
}

TEST(Network, FourHostsOfEightSendTwoFifthsOfAnFp32RingInBf16) {
  NetworkModel network{.link = 100, .ranks_per_host = 8, .rings = true};
  const double ring = network.exchange(32, 4).element_bytes_out;
  EXPECT_NEAR(ring, 4 * 31 / 32.0, kClose);
  const auto sent = [&](int64_t leaves, double bytes) {
    return network.tree_exchange({leaves, 32}, bytes).element_bytes_out;
  };
  EXPECT_NEAR(sent(32, 4), 4 * 24 / 32.0, kClose);
  EXPECT_NEAR(sent(32, 2), 2 * 24 / 32.0, kClose);
  EXPECT_NEAR(sent(64, 2), sent(32, 2), kClose) << "a rank's two are added before";
  EXPECT_NEAR(sent(96, 2), 2 * sent(32, 2), kClose) << "24 on a host are 16 and 8";
}

TEST(Network, UnevenHostsWaitForTheOneThatSendsOrGetsMost) {
  // Three ranks, and one on its own, which gets their two sums of its part: leaves 0 and 1, and 2.
  const NetworkModel network{.link = 100, .ranks_per_host = 3, .local_link = 1000};
  const CollectiveCost cost = network.tree_exchange({4, 4}, 4);
  EXPECT_NEAR(cost.bytes_out(100), 3 * 100, kClose) << "from the one to the three";
  // Within the host a rank adds up the others' one or two parts; then three parts cross the link.
  EXPECT_NEAR(cost.seconds(100), 2 * 2 * 100 / 1000.0 + 3 * 100 / 100.0, kClose);
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
  const auto blocks = [&](int ranks) {
    return traffic_of(config, 1, ranks).tree->blocks_of(0).size();
  };
  EXPECT_EQ(blocks(12), 1);
  EXPECT_EQ(blocks(6), 1);
  EXPECT_EQ(blocks(4), 2) << "three each: a pair and one";
  config.communication.reduction = "fast";
  EXPECT_EQ(blocks(4), 1);
  Traffic twice = traffic();
  twice.tree = SummationTree(6, 2);
  const StepPrediction step = predict_step({}, 1, twice, network(), 2);
  EXPECT_NEAR(step.communication, 2 * 4 + 4, kClose);
  EXPECT_NEAR(step.bytes_out, 100 * (2 * 4 + 4), kClose);
}

TEST(Scaling, NcclSumsInRingsOnlyWhatIsFastAndFp32) {
  RunConfig config;
  config.communication.reduction = "fast";
  EXPECT_TRUE(traffic_of(config, 1, 4).as_nccl_sums);
  config.communication.wire = "bf16";
  EXPECT_FALSE(traffic_of(config, 1, 4).as_nccl_sums);
  Traffic fast = traffic();
  fast.as_nccl_sums = true;
  NetworkModel hosts{.link = 100, .ranks_per_host = 2};
  const auto gradients = [&] {  // without the weights, which are gathered
    return predict_step({}, 1, fast, hosts, 4).bytes_out - 2 * hosts.exchange(4, 4).bytes_out(100);
  };
  EXPECT_NEAR(gradients(), 2 * 200, kClose) << "MPI adds along the tree anyway";
  hosts.rings = true;
  EXPECT_NEAR(gradients(), 2 * 300, kClose);
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
  EXPECT_EQ(four.wire, all * 3 / 4);  // less than one bucket of 25 MiB; but the own part
  EXPECT_EQ(four.peak, all + all + all / 2 + all * 3 / 4);
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
  EXPECT_EQ(plan.wire, all / 2);
  EXPECT_EQ(plan.peak, all / 2 + all + all + all / 2 + all / 2 + all / 2 + all);
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
  EXPECT_EQ(plan_memory(config, {.trained = 1 << 20}, 4).peak, 5 * all + all * 3 / 4 + 25 * all);
}

TEST(MemoryPlan, WireIsBoundedHoweverLargeBucketsAre) {
  RunConfig config;
  config.train.global_batch = 28;  // seven a rank, in three sums
  config.train.micro_batch = 1;
  const auto wire = [&](double megabytes) {
    config.communication.bucket_mb = megabytes;
    return plan_memory(config, {.trained = 1 << 28}, 4).wire;
  };
  EXPECT_EQ(wire(1), 3 * 3u << 18) << "three of each other rank's quarters";
  EXPECT_EQ(wire(1000), 64u << 20);
  config.communication.wire = "bf16";
  EXPECT_EQ(wire(1000), 64u << 20);
}

}  // namespace
}  // namespace kessoku::runtime
