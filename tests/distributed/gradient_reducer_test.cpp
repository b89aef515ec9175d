// Run under mpirun with several ranks: gradients that arrive while backward runs against plain
// sums.
#include "runtime/training/gradient_reducer.h"

#include <ATen/TensorOperators.h>
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
      : partition(flat_numel(flat_layout(parameters)), 500, communicator->size()),
        flat(parameters, partition.numel()),
        reducer(flat, partition, options, *communicator) {
    flat.round_to(dtype);
  }

  /// A step of two micro-batches; the gradient of layer i is, summed over ranks and both,
  /// 3 · Σ (rank + 1).
  void step() {
    at::Tensor(flat.gradients()).zero_();
    for (int micro = 0; micro < 2; ++micro) {
      at::Tensor x = at::ones({100}, parameters[0].tensor.options().requires_grad(false));
      for (size_t i = 0; i < 9; ++i)
        x = x +
            parameters[i].tensor * static_cast<double>((communicator->rank() + 1) * (micro + 1));
      reducer.prepare(micro == 1);
      x.sum().backward();
    }
    reducer.finish();
  }

  /// Layer 9 is unused: its gradient never comes.
  model::Parameters parameters = [] {
    model::Parameters all;
    for (int i = 0; i < 10; ++i)
      all.push_back({std::to_string(i), at::ones({100}, at::TensorOptions(device))});
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
  // The last two buckets hold the unused layer: they are never ready.
  EXPECT_EQ(chain.reducer.order().front(), 0u);
}

TEST(GradientReducer, WireBf16RoundsEachRankButSumsInFp32) {
  const int ranks = communicator->size();
  at::Tensor whole = at::full({16 * ranks}, 1 + 1.0 / 256,
                              at::TensorOptions(at::kFloat).device(device));  // no bf16
  at::Tensor part = whole.narrow(0, communicator->rank() * 16, 16);
  communicator->reduce_scatter(whole, part, Wire::kBFloat16)->wait();
  // The own number is not sent; the others come as 1. A bf16 sum of 3 ranks or more would round.
  EXPECT_FLOAT_EQ(part[0].item<float>(), static_cast<float>(ranks) + 1.0f / 256);
}

}  // namespace
}  // namespace kessoku::runtime
