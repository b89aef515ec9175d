#include "runtime/communication/summation_tree.h"

#include <ATen/ops/add.h>

#include <stdexcept>

namespace kessoku::runtime {

bool TreeBlock::is_sibling_of(const TreeBlock& next) const {
  return level == next.level && index % 2 == 0 && next.index == index + 1;
}

SummationTree::SummationTree(int64_t leaves, int ranks) : leaves_(leaves), ranks_(ranks) {
  if (ranks < 1 || leaves < 1 || leaves % ranks != 0)
    throw std::logic_error("a summation tree's ranks must divide its leaves");
}

std::vector<TreeBlock> SummationTree::blocks_of(int rank) const {
  std::vector<TreeBlock> blocks;
  const int64_t begin = first_leaf(rank);
  for (int64_t leaf = begin; leaf < begin + leaves_per_rank(); ++leaf) {
    TreeBlock block{0, leaf};
    while (!blocks.empty() && blocks.back().is_sibling_of(block)) {
      blocks.pop_back();
      block = block.parent();
    }
    blocks.push_back(block);
  }
  return blocks;
}

size_t SummationTree::blocks() const {
  size_t count = 0;
  for (int rank = 0; rank < ranks_; ++rank) count += blocks_of(rank).size();
  return count;
}

namespace {

/// Their sum, in memory of one of them if that may be written to, best in `target`.
BlockSum merge(BlockSum left, BlockSum right, TreeBlock block, const void* target) {
  for (BlockSum* side : {&left, &right}) {
    if (side->values.scalar_type() == at::kFloat) continue;
    *side = {side->block, side->values.to(at::kFloat), true};
  }
  const bool into_right = right.writable && (!left.writable || right.values.data_ptr() == target);
  BlockSum& to = into_right ? right : left;
  const BlockSum& from = into_right ? left : right;
  if (to.writable) {
    to.values.add_(from.values);
    return {block, to.values, true};
  }
  return {block, at::add(left.values, right.values), true};
}

/// The last two become one.
void merge_last(std::vector<BlockSum>& blocks, TreeBlock block, const void* target) {
  BlockSum right = std::move(blocks.back());
  blocks.pop_back();
  blocks.back() = merge(std::move(blocks.back()), std::move(right), block, target);
}

std::vector<BlockSum> merge_into(std::vector<BlockSum> blocks, const void* target) {
  std::vector<BlockSum> merged;
  for (BlockSum& block : blocks) {
    merged.push_back(std::move(block));
    while (merged.size() > 1 && (merged.end() - 2)->block.is_sibling_of(merged.back().block))
      merge_last(merged, merged.back().block.parent(), target);
  }
  return merged;
}

}  // namespace

std::vector<BlockSum> merge_siblings(std::vector<BlockSum> blocks) {
  return merge_into(std::move(blocks), nullptr);
}

void sum_blocks(std::vector<BlockSum> blocks, const at::Tensor& sum) {
  for (BlockSum& block : blocks) block.writable |= block.values.data_ptr() == sum.data_ptr();
  std::vector<BlockSum> merged = merge_into(std::move(blocks), sum.data_ptr());
  // Where the leaves are no power of two, the last nodes have no sibling and stand for their
  // parents.
  while (merged.size() > 1) merge_last(merged, (merged.end() - 2)->block.parent(), sum.data_ptr());
  const at::Tensor& root = merged.front().values;
  if (root.data_ptr() != sum.data_ptr()) sum.copy_(root);
}

}  // namespace kessoku::runtime
