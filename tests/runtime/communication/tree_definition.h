#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/add.h>

#include <algorithm>
#include <functional>
#include <vector>

namespace kessoku::runtime {

/// The summation tree and what its exchange sends, by their definitions, leaf by leaf.
struct TreeDefinition {
  int64_t leaves;
  int ranks;
  std::vector<int> hosts;  ///< of each rank

  int rank_of(int64_t leaf) const { return static_cast<int>(leaf * ranks / leaves); }
  int host_of(int64_t leaf) const { return hosts[static_cast<size_t>(rank_of(leaf))]; }

  /// The sum of all leaves. With `rounds` what ranks have and sums of that are rounded to bf16, but
  /// the last sum.
  at::Tensor sum(const std::function<at::Tensor(int64_t)>& leaf, bool rounds) const {
    return sum(leaf, rounds && ranks > 1, 0, width(), /*is_last=*/true);
  }

  /// How many nodes of the tree hold just the leaves of which `is_of` is true.
  int64_t nodes(const std::function<bool(int64_t)>& is_of) const {
    return nodes(is_of, 0, width());
  }

  /// Parts of blocks that `from` must send to `to` at least, hosts that are not the same.
  int64_t parts_between(int from, int to) const {
    return nodes([&](int64_t leaf) { return host_of(leaf) == from; }) *
           std::count(hosts.begin(), hosts.end(), to);
  }

 private:
  int64_t width() const {
    int64_t width = 1;
    while (width < leaves) width *= 2;
    return width;
  }

  static at::Tensor rounded(const at::Tensor& sum) { return sum.to(at::kBFloat16).to(at::kFloat); }

  /// Of leaves [begin, begin + size), as far as there are so many.
  at::Tensor sum(const std::function<at::Tensor(int64_t)>& leaf, bool rounds, int64_t begin,
                 int64_t size, bool is_last = false) const {
    if (size > 1 && begin + size / 2 >= leaves) return sum(leaf, rounds, begin, size / 2, is_last);
    const bool of_one = begin + size <= leaves && rank_of(begin) == rank_of(begin + size - 1);
    if (rounds && of_one) return rounded(sum(leaf, false, begin, size));
    if (size == 1) return leaf(begin);
    const at::Tensor both =
        at::add(sum(leaf, rounds, begin, size / 2), sum(leaf, rounds, begin + size / 2, size / 2));
    return rounds && !is_last ? rounded(both) : both;
  }

  int64_t nodes(const std::function<bool(int64_t)>& is_of, int64_t begin, int64_t size) const {
    int64_t inside = 0;
    for (int64_t leaf = begin; leaf < std::min(begin + size, leaves); ++leaf) inside += is_of(leaf);
    if (inside == size) return 1;
    if (inside == 0) return 0;
    return nodes(is_of, begin, size / 2) + nodes(is_of, begin + size / 2, size / 2);
  }
};

}  // namespace kessoku::runtime
