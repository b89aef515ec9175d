#include "runtime/verification/rank_comparison.h"

#include <ATen/ops/empty.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <set>

#include "runtime/verification/block_digests.h"

namespace kessoku::runtime {

std::string names_in(const std::vector<NamedSpan>& spans, const std::vector<int64_t>& blocks) {
  constexpr size_t kMost = 3;
  std::vector<std::string> names;
  size_t more = 0;
  for (const NamedSpan& span : spans) {
    // The first block that ends behind the span's begin.
    const auto block = std::ranges::lower_bound(blocks, span.begin / kDigestBlock);
    if (block == blocks.end() || *block * kDigestBlock >= span.end) continue;
    if (names.size() < kMost) {
      names.push_back(span.name);
    } else {
      ++more;
    }
  }
  if (names.empty()) return "padding";
  std::string text = fmt::format("{}", fmt::join(names, ", "));
  if (more > 0) text += fmt::format(" and {} more", more);
  return text;
}

std::vector<int> odd_ranks(std::span<const int64_t> digests) {
  std::map<int64_t, size_t> counts;
  for (const int64_t digest : digests) ++counts[digest];
  if (counts.size() == 1) return {};
  const auto most =
      std::ranges::max_element(counts, {}, [](const auto& entry) { return entry.second; });
  const bool majority = most->second * 2 > digests.size();
  std::vector<int> odd;
  for (size_t rank = 0; rank < digests.size(); ++rank) {
    if (!majority || digests[rank] != most->first) odd.push_back(static_cast<int>(rank));
  }
  return odd;
}

std::vector<int> suspects(const std::vector<FailedCheck>& failed) {
  std::set<int> all, common;
  for (const FailedCheck& check : failed) all.insert({check.owner, check.checker});
  for (const int rank : all) {
    if (std::ranges::all_of(failed, [&](const FailedCheck& check) {
          return check.owner == rank || check.checker == rank;
        }))
      common.insert(rank);
  }
  const std::set<int>& named = common.size() == 1 ? common : all;
  return {named.begin(), named.end()};
}

at::Tensor gather_numbers(const std::vector<int64_t>& own, Communicator& communicator) {
  at::Tensor numbers = at::empty({static_cast<int64_t>(own.size())}, at::kLong);
  std::ranges::copy(own, numbers.mutable_data_ptr<int64_t>());
  return gather_digests(numbers, communicator);
}

at::Tensor gather_digests(const at::Tensor& own, Communicator& communicator) {
  const at::Tensor part = own.cpu().contiguous();
  at::Tensor all = at::empty({communicator.size(), part.numel()}, at::kLong);
  communicator.all_gather(part, all)->wait();
  return all;
}

std::vector<int64_t> differing_blocks(const at::Tensor& a, const at::Tensor& b) {
  std::vector<int64_t> blocks;
  const auto* left = a.const_data_ptr<int64_t>();
  const auto* right = b.const_data_ptr<int64_t>();
  for (int64_t i = 0; i < a.numel(); ++i) {
    if (left[i] != right[i]) blocks.push_back(i);
  }
  return blocks;
}

}  // namespace kessoku::runtime
