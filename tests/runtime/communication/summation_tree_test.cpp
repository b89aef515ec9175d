#include "runtime/communication/summation_tree.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/add.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/rand.h>
#include <gtest/gtest.h>

namespace kessoku::runtime {
namespace {

/// The sum of leaves [begin, end) of the node at `level`, by the definition of the tree.
at::Tensor sum_of(const std::vector<at::Tensor>& leaves, int level, size_t index) {
  if (level == 0) return leaves[index];
  const at::Tensor left = sum_of(leaves, level - 1, 2 * index);
  const size_t right = (2 * index + 1) << (level - 1);
  return right < leaves.size() ? at::add(left, sum_of(leaves, level - 1, 2 * index + 1)) : left;
}

int depth_of(size_t leaves) {
  int level = 0;
  while ((size_t{1} << level) < leaves) ++level;
  return level;
}

TEST(SummationTree, EveryNumberOfRanksSumsAsTheTreeSays) {
  for (int64_t count = 1; count <= 24; ++count) {
    std::vector<at::Tensor> leaves;
    for (int64_t i = 0; i < count; ++i) leaves.push_back(at::rand({33}, at::kFloat) - 0.5);
    const at::Tensor expected = sum_of(leaves, depth_of(leaves.size()), 0);
    for (int ranks = 1; ranks <= count; ++ranks) {
      if (count % ranks != 0) continue;
      const SummationTree tree(count, ranks);
      std::vector<BlockSum> blocks;
      for (int rank = 0; rank < ranks; ++rank) {
        for (const TreeBlock& block : tree.blocks_of(rank)) {
          const auto first = static_cast<size_t>(block.index) << block.level;
          EXPECT_GE(static_cast<int64_t>(first), tree.first_leaf(rank));
          blocks.push_back({block, sum_of(leaves, block.level, static_cast<size_t>(block.index))});
        }
      }
      for (const size_t target : {size_t{0}, blocks.size() - 1, blocks.size()}) {
        std::vector<BlockSum> own = blocks;
        for (BlockSum& block : own) block.values = block.values.clone();
        at::Tensor sum = target < own.size() ? own[target].values : at::empty({33}, at::kFloat);
        for (size_t i = 0; i < own.size(); ++i) own[i].writable = i % 3 == 1;
        sum_blocks(own, sum);
        EXPECT_TRUE(sum.equal(expected)) << count << " leaves, " << ranks << " ranks";
      }
    }
  }
}

TEST(SummationTree, LeavesWhatMayNotBeWrittenAlone) {
  const at::Tensor left = at::rand({8}, at::kFloat), right = at::rand({8}, at::kFloat);
  const at::Tensor left_before = left.clone(), right_before = right.clone();
  sum_blocks({{{0, 0}, left}, {{0, 1}, right}}, at::empty({8}, at::kFloat));
  EXPECT_TRUE(left.equal(left_before));
  EXPECT_TRUE(right.equal(right_before));
}

TEST(SummationTree, PowersOfTwoOfLeavesAreOneBlock) {
  EXPECT_EQ(SummationTree(16, 4).blocks_of(3), (std::vector<TreeBlock>{{2, 3}}));
  EXPECT_EQ(SummationTree(12, 4).blocks_of(0), (std::vector<TreeBlock>{{1, 0}, {0, 2}}));
  EXPECT_EQ(SummationTree(12, 4).blocks_of(1), (std::vector<TreeBlock>{{0, 3}, {1, 2}}));
  EXPECT_EQ(SummationTree(12, 1).blocks_of(0), (std::vector<TreeBlock>{{3, 0}, {2, 2}}));
  EXPECT_THROW(SummationTree(12, 5), std::logic_error);
}

TEST(SummationTree, RoundsSumsInBf16ButTheLast) {
  const auto block = [](int64_t leaf, double value) {
    return BlockSum{{0, leaf}, at::empty({4}, at::kBFloat16).fill_(value), true};
  };
  const at::Tensor sum = at::empty({4}, at::kFloat);
  sum_blocks({block(0, 1), block(1, 1.0 / 512)}, sum);
  EXPECT_EQ(sum[0].item<float>(), 1 + 1.0F / 512);
  sum_blocks({block(0, 1), block(1, 1.0 / 512), block(2, 1), block(3, 1.0 / 512)}, sum);
  EXPECT_EQ(sum[0].item<float>(), 2);
  sum_blocks({block(0, 1), block(1, 1.0 / 512), block(2, 1.0 / 512)}, sum);
  EXPECT_EQ(sum[0].item<float>(), 1 + 1.0F / 512);
}

}  // namespace
}  // namespace kessoku::runtime
