#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace kessoku::runtime {

/// A node of the tree: the sum of leaves [index · 2^level, (index + 1) · 2^level), as far as there
/// are so many.
struct TreeBlock {
  int level;
  int64_t index;
  bool operator==(const TreeBlock&) const = default;
  /// Whether `next` is the other half of the same parent.
  bool is_sibling_of(const TreeBlock& next) const;
  TreeBlock parent() const { return {level + 1, index / 2}; }
  int64_t first_leaf() const { return index << level; }
};

/// Siblings next to each other become their parent, as far as that goes.
std::vector<TreeBlock> merge_siblings(const std::vector<TreeBlock>& blocks);

/// The order in which numbers of `leaves` micro-batches are summed: one binary tree over their
/// numbers, by aligned blocks of powers of two. It is the same for every number of ranks, so that
/// float sums have the same bits; rank r of R computes leaves [r · L/R, (r + 1) · L/R) and sends
/// the fewest nodes that hold just those.
class SummationTree {
 public:
  /// Throws std::logic_error if `ranks` do not divide `leaves`.
  SummationTree(int64_t leaves, int ranks);
  /// One leaf a rank.
  static SummationTree over_ranks(int ranks) { return {ranks, ranks}; }

  int64_t leaves() const { return leaves_; }
  int ranks() const { return ranks_; }
  int64_t leaves_per_rank() const { return leaves_ / ranks_; }
  int64_t first_leaf(int rank) const { return rank * leaves_per_rank(); }
  /// What `rank` sends, in order of leaves.
  std::vector<TreeBlock> blocks_of(int rank) const;

 private:
  int64_t leaves_;
  int ranks_;
};

/// One block's numbers.
struct BlockSum {
  TreeBlock block;
  at::Tensor values;      ///< f32 or bf16
  bool writable = false;  ///< may be used as room for sums
};

/// Adds siblings that are next to each other: of the blocks of consecutive ranks, in order, those
/// of one rank that has all of their leaves. Sums are of the type of the blocks, which all have the
/// same; bf16 ones must be writable, and their sums are rounded to the nearest.
std::vector<BlockSum> merge_siblings(std::vector<BlockSum> blocks);

/// The root of the tree from `blocks`, which are all of its leaves in order, into `sum` (f32),
/// which may be one of them. The last sum is not rounded to bf16.
void sum_blocks(std::vector<BlockSum> blocks, const at::Tensor& sum);

}  // namespace kessoku::runtime
