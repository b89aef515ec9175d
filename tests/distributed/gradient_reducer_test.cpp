// Run under mpirun with several ranks: gradients that arrive while backward runs against plain
// sums.
#include "runtime/training/gradient_reducer.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randn.h>
#include <gtest/gtest.h>

#include "tests/distributed/mpi_test.h"

namespace kessoku::runtime {
namespace {

/// Layers of a chain, so that the last ones' gradients are ready first.
struct Chain {
  explicit Chain(const ReducerOptions& options, at::ScalarType dtype = at::kFloat)
      : partition(flat_numel(flat_layout(parameters)), 5000, communicator->size()),
        flat(parameters, partition.numel()),
        reducer(flat, partition, options, int64_t{2} * communicator->size(), *communicator) {
    flat.round_to(dtype);
  }

  /// A step of two micro-batches; the gradient of layer i is, summed over ranks and both,
  /// 3 · Σ (rank + 1).
  void step() {
    for (int micro = 0; micro < 2; ++micro) {
      at::Tensor x = at::ones({1000}, parameters[0].tensor.options().requires_grad(false));
      for (size_t i = 0; i < 9; ++i)
        x = x +
            parameters[i].tensor * static_cast<double>((communicator->rank() + 1) * (micro + 1));
      reducer.prepare(micro);
      x.sum().backward();
    }
    reducer.finish();
  }

  /// Layer 9 is unused: its gradient never comes.
  model::Parameters parameters = [] {
    model::Parameters all;
    for (int i = 0; i < 10; ++i)
      all.push_back({std::to_string(i), at::ones({1000}, at::TensorOptions(device))});
    return all;
  }();
  Partition partition;
  FlatParameters flat;
  GradientReducer reducer;
};

void expect_sums(const Chain& chain, const std::vector<Range>& owned) {
  const double expected = 3.0 * communicator->size() * (communicator->size() + 1) / 2;
  at::Tensor whole =
      at::full({chain.partition.numel()}, 0, at::TensorOptions(at::kFloat).device(device));
  for (size_t i = 0; i < 9; ++i) {
    const FlatRange& range = chain.flat.ranges()[i];
    whole.narrow(0, range.offset, range.numel).fill_(expected);
  }
  for (const Range& range : owned) {
    EXPECT_TRUE(chain.flat.gradients()
                    .narrow(0, range.begin, range.size())
                    .equal(whole.narrow(0, range.begin, range.size())));
  }
}

TEST(GradientReducer, SumsOverRanksAndMicroBatchesInEveryWay) {
  for (bool shard : {true, false}) {
    for (bool overlap : {true, false}) {
      for (Wire wire :
           {Wire::kFloat32, Wire::kBFloat16}) {  // small whole numbers are exact in bf16
        for (at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
          Chain chain({shard, overlap, wire}, dtype);
          for (int step = 0; step < 3; ++step) {
            chain.step();
            expect_sums(chain, chain.partition.owned_by(shard ? communicator->rank()
                                                              : Partition::kEverybody));
          }
        }
      }
    }
  }
}

TEST(GradientReducer, LearnsTheOrderInWhichBucketsAreReady) {
  Chain chain({});
  const size_t last = chain.partition.buckets() - 1;
  EXPECT_EQ(chain.reducer.order().front(), last);
  chain.step();
  if (communicator->size() == 1) return;
  // The last bucket holds the unused layer: it is never ready.
  EXPECT_EQ(chain.reducer.order().front(), 0u);
}

/// One parameter whose gradient in micro-batch `leaf` of twelve is `gradient_of(leaf)`.
at::Tensor gradient_of(int64_t leaf) {
  return at::arange(6000, at::TensorOptions(at::kFloat).device(device))
      .add(1000 * leaf)
      .mul(0.37)
      .sin();
}

TEST(GradientReducer, SumsMicroBatchesAlongOneTreeOnAnyNumberOfRanks) {
  constexpr int64_t kLeaves = 12;
  std::vector<BlockSum> leaves;
  for (int64_t leaf = 0; leaf < kLeaves; ++leaf) leaves.push_back({{0, leaf}, gradient_of(leaf)});
  at::Tensor expected = at::empty({6000}, leaves[0].values.options());
  sum_blocks(leaves, expected);
  const int64_t per_rank = kLeaves / communicator->size();
  for (bool shard : {true, false}) {
    for (bool overlap : {true, false}) {
      const model::Parameters parameters{{"w", at::ones({6000}, expected.options())}};
      const Partition partition(6000, 1024, communicator->size());
      FlatParameters flat(parameters, partition.numel());
      GradientReducer reducer(flat, partition, {shard, overlap}, kLeaves, *communicator);
      for (int step = 0; step < 2; ++step) {
        for (int64_t i = 0; i < per_rank; ++i) {
          const at::Tensor gradient = gradient_of(communicator->rank() * per_rank + i);
          reducer.prepare(i);
          (parameters[0].tensor * gradient).sum().backward();
        }
        reducer.finish();
        for (const Range& range :
             partition.owned_by(shard ? communicator->rank() : Partition::kEverybody)) {
          const int64_t size = std::min(range.end, int64_t{6000}) - range.begin;
          if (size <= 0) continue;
          EXPECT_TRUE(flat.gradients()
                          .narrow(0, range.begin, size)
                          .equal(expected.narrow(0, range.begin, size)));
        }
      }
    }
  }
}

TEST(GradientReducer, KeepsFewSumsOfMicroBatches) {
  const auto kept = [](int64_t leaves, int ranks) {
    return kept_gradient_buffers(SummationTree(leaves, ranks), Reduction::kExact);
  };
  EXPECT_EQ(kept(12, 12), 0u);
  EXPECT_EQ(kept(16, 8), 0u) << "backward adds the second of two";
  EXPECT_EQ(kept(16, 4), 1u);
  EXPECT_EQ(kept(16, 1), 3u);
  EXPECT_EQ(kept(12, 4), 1u);
  EXPECT_EQ(kept(28, 4), 3u) << "more than log2, where blocks do not begin at powers of two";
  EXPECT_EQ(kept(26, 2), 4u);
  EXPECT_EQ(kept_gradient_buffers(SummationTree(16, 1), Reduction::kFast), 0u);
}

TEST(GradientReducer, WireBf16RoundsWhatEachRankHas) {
  const int ranks = communicator->size();
  at::Tensor whole = at::full({16 * ranks}, 1 + 1.0 / 256,
                              at::TensorOptions(at::kFloat).device(device));  // no bf16
  at::Tensor part = whole.narrow(0, communicator->rank() * 16, 16);
  communicator->reduce_scatter(whole, part, Wire::kBFloat16)->wait();
  EXPECT_FLOAT_EQ(part[0].item<float>(), ranks == 1 ? 1 + 1.0f / 256 : static_cast<float>(ranks));
}

}  // namespace
}  // namespace kessoku::runtime
