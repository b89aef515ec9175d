#include "runtime/communication/summation_tree.h"

#include <ATen/ops/add.h>

#include <stdexcept>

namespace kessoku::runtime {

bool TreeBlock::is_sibling_of(const TreeBlock& next) const {
  return level == next.level && index % 2 == 0 && next.index == index + 1;
}

std::vector<TreeBlock> merge_siblings(const std::vector<TreeBlock>& blocks) {
  std::vector<TreeBlock> merged;
  for (TreeBlock block : blocks) {
    while (!merged.empty() && merged.back().is_sibling_of(block)) {
      merged.pop_back();
      block = block.parent();
    }
    merged.push_back(block);
  }
  return merged;
}

SummationTree::SummationTree(int64_t leaves, int ranks) : leaves_(leaves), ranks_(ranks) {
  if (ranks < 1 || leaves < 1 || leaves % ranks != 0)
    throw std::logic_error("a summation tree's ranks must divide its leaves");
}

std::vector<TreeBlock> SummationTree::blocks_of(int rank) const {
  std::vector<TreeBlock> leaves;
  const int64_t begin = first_leaf(rank);
  for (int64_t leaf = begin; leaf < begin + leaves_per_rank(); ++leaf) leaves.push_back({0, leaf});
  return merge_siblings(leaves);
}

namespace {

/// Their sum, in memory of one of them if that may be written to, best in `target`.
BlockSum merge(BlockSum left, BlockSum right, TreeBlock block, const void* target) {
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

bool ends_in_siblings(const std::vector<BlockSum>& blocks) {
  return blocks.size() > 1 && (blocks.end() - 2)->block.is_sibling_of(blocks.back().block);
}

/// As merge_siblings; the last two of all `blocks` are left to the caller if `but_root`.
std::vector<BlockSum> merge_into(std::vector<BlockSum> blocks, const void* target, bool but_root) {
  std::vector<BlockSum> merged;
  for (size_t i = 0; i < blocks.size(); ++i) {
    merged.push_back(std::move(blocks[i]));
    const size_t least = but_root && i + 1 == blocks.size() ? 3 : 2;
    while (merged.size() >= least && ends_in_siblings(merged))
      merge_last(merged, merged.back().block.parent(), target);
  }
  return merged;
}

}  // namespace

std::vector<BlockSum> merge_siblings(std::vector<BlockSum> blocks) {
  return merge_into(std::move(blocks), nullptr, /*but_root=*/false);
}

void sum_blocks(std::vector<BlockSum> blocks, const at::Tensor& sum) {
  const void* target = sum.data_ptr();
  for (BlockSum& block : blocks) block.writable |= block.values.data_ptr() == target;
  std::vector<BlockSum> merged = merge_into(std::move(blocks), target, /*but_root=*/true);
  // Where the leaves are no power of two, the last nodes have no sibling and stand for their
  // parents.
  while (merged.size() > 2) merge_last(merged, (merged.end() - 2)->block.parent(), target);
  const at::Tensor& left = merged.front().values;
  const at::Tensor& right = merged.back().values;
  const bool alone = merged.size() == 1;
  if (!alone && right.data_ptr() == target) {
    sum.add_(left);
    return;
  }
  if (left.data_ptr() != target) sum.copy_(left);
  if (!alone) sum.add_(right);
}

}  // namespace kessoku::runtime
