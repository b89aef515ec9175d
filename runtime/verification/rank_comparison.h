#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "runtime/communication/communicator.h"

namespace kessoku::runtime {

/// Elements [begin, end) of a flat buffer, and what they are.
struct NamedSpan {
  std::string name;
  int64_t begin, end;
};

/// The spans that blocks `blocks` (ascending) of a flat buffer are part of: "a", "a, b", "a, b and
/// 5 more". `spans` ascend.
std::string names_in(const std::vector<NamedSpan>& spans, const std::vector<int64_t>& blocks);

/// Of digests by rank: those that differ from what more than half of the ranks have; all ranks if
/// no digest has so many; none if all are equal.
std::vector<int> odd_ranks(std::span<const int64_t> digests);

/// Rank `checker` computed anew what rank `owner` had computed, and got other bits.
struct FailedCheck {
  int owner, checker;
};

/// The rank that is wrong if any one alone explains all of `failed`, else all that take part in
/// them.
std::vector<int> suspects(const std::vector<FailedCheck>& failed);

/// All ranks' `own` (int64, 1-d), by rank: (ranks, numel). Collective.
at::Tensor gather_numbers(const std::vector<int64_t>& own, Communicator& communicator);

/// The same of tensors on any device; the result is on the CPU. Collective.
at::Tensor gather_digests(const at::Tensor& own, Communicator& communicator);

/// Blocks in which rows `a` and `b` of gathered digests differ.
std::vector<int64_t> differing_blocks(const at::Tensor& a, const at::Tensor& b);

}  // namespace kessoku::runtime
