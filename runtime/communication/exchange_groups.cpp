#include "runtime/communication/exchange_groups.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <map>
#include <string_view>

#include "base/error.h"

namespace kessoku::runtime {

ExchangeGroups::ExchangeGroups(const SummationTree& tree, std::span<const int> hosts)
    : tree_(tree), group_of_(hosts.size()) {
  if (std::ssize(hosts) != tree.ranks())
    throw std::logic_error("an exchange needs the host of each rank");
  std::map<int, std::vector<int>> ranks_of;
  for (int rank = 0; rank < tree.ranks(); ++rank)
    ranks_of[hosts[static_cast<size_t>(rank)]].push_back(rank);
  for (auto& [host, ranks] : ranks_of) {
    std::vector<TreeBlock> blocks;
    for (const int rank : ranks) {
      for (const TreeBlock& block : tree.blocks_of(rank)) blocks.push_back(block);
    }
    const auto unmerged = std::ssize(blocks);
    std::vector<TreeBlock> merged = merge_siblings(blocks);
    if (ranks_of.size() > 1 && std::ssize(merged) < unmerged) {
      groups_.push_back({std::move(ranks), std::move(merged), unmerged});
      continue;
    }
    for (const int rank : ranks) {
      std::vector<TreeBlock> own = tree.blocks_of(rank);
      groups_.push_back({{rank}, own, std::ssize(own)});
    }
  }
  for (size_t group = 0; group < groups_.size(); ++group) {
    blocks_ += std::ssize(groups_[group].blocks);
    for (const int rank : groups_[group].members) group_of_[static_cast<size_t>(rank)] = group;
  }
}

int ExchangeGroups::adder(size_t group, int owner) const {
  const std::vector<int>& members = groups_[group].members;
  if (group_of(owner) == group) return owner;
  return members[static_cast<size_t>(owner) % members.size()];
}

std::vector<int> ExchangeGroups::owners_added_by(int rank) const {
  std::vector<int> owners;
  for (int owner = 0; owner < tree_.ranks(); ++owner) {
    if (adder(group_of(rank), owner) == rank) owners.push_back(owner);
  }
  return owners;
}

/// The number of owners_added_by, without a look at each.
int64_t ExchangeGroups::parts_added_by(int rank) const {
  const std::vector<int>& members = groups_[group_of(rank)].members;
  const auto size = static_cast<int>(members.size());
  const auto place = static_cast<int>(std::ranges::find(members, rank) - members.begin());
  const int alike = (tree_.ranks() - place + size - 1) / size;
  const auto own = std::ranges::count_if(members, [&](int i) { return i % size == place; });
  return 1 + alike - own;
}

ExchangeLoad ExchangeGroups::load_of(int rank) const {
  const Group& group = groups_[group_of(rank)];
  const auto own = std::ssize(tree_.blocks_of(rank)), sums = std::ssize(group.blocks);
  const int64_t parts = parts_added_by(rank);
  return {.sent_within = own * (tree_.ranks() - parts),
          .received_within = parts * (group.unmerged - own),
          .sent = (parts - 1) * sums,
          .received = blocks_ - sums};
}

std::optional<std::vector<int>> pretended_hosts(int ranks) {
  constexpr const char* kName = "KESSOKU_RANKS_PER_HOST";
  const char* text = std::getenv(kName);
  if (text == nullptr) return std::nullopt;
  std::vector<int> sizes;
  for (std::string_view rest = text; sizes.empty() || !rest.empty();) {
    int size = 0;
    const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), size);
    rest.remove_prefix(static_cast<size_t>(end - rest.data()));
    const bool separated = rest.empty() || (rest.front() == ',' && rest.size() > 1);
    if (error != std::errc() || size < 1 || !separated) {
      throw UsageError(
          fmt::format("{}={}: is no list of ranks per host, as \"2\" or \"3,1\"", kName, text));
    }
    if (!rest.empty()) rest.remove_prefix(1);
    sizes.push_back(size);
  }
  std::vector<int> hosts;
  for (int host = 0; std::ssize(hosts) < ranks; ++host) {
    const int size = sizes[static_cast<size_t>(host) % sizes.size()];
    hosts.insert(hosts.end(), static_cast<size_t>(size), host);
  }
  hosts.resize(static_cast<size_t>(ranks));
  return hosts;
}

}  // namespace kessoku::runtime
