#include "runtime/planning/network_model.h"

#include <algorithm>
#include <cmath>

#include "runtime/communication/exchange_groups.h"

namespace kessoku::runtime {

CollectiveCost NetworkModel::exchange(int ranks, double bytes) const {
  if (ranks <= 1) return {};
  const double part = bytes / ranks;
  const int together = std::min(ranks, ranks_per_host), elsewhere = ranks - together;
  const double local = local_link > 0 ? local_link : link;
  CollectiveCost cost{.latency = latency * (ranks - 1)};
  if (rings) {
    const double slowest = elsewhere > 0 ? std::min(link, local) : local;
    cost.element_seconds = (ranks - 1) * part / slowest;
    cost.element_bytes_out = elsewhere > 0 ? (ranks - 1) * part : 0;
    return cost;
  }
  // A rank's messages within the host and to others travel at the same time.
  cost.element_bytes_out = together * elsewhere * part;
  const double across = elsewhere > 0 ? cost.element_bytes_out / link : 0;
  cost.element_seconds = std::max(across, (together - 1) * part / local);
  return cost;
}

CollectiveCost NetworkModel::tree_exchange(const SummationTree& tree, double bytes) const {
  const int ranks = tree.ranks();
  if (ranks <= 1) return {};
  const auto host_of = [&](int rank) { return static_cast<size_t>(rank / ranks_per_host); };
  std::vector<int> hosts;
  for (int rank = 0; rank < ranks; ++rank) hosts.push_back(static_cast<int>(host_of(rank)));
  std::vector<int64_t> sizes(host_of(ranks - 1) + 1), sums(sizes.size());  // of hosts
  for (int rank = 0; rank < ranks; ++rank) ++sizes[host_of(rank)];

  const ExchangeGroups groups(tree, hosts);
  int64_t all_sums = 0;
  for (size_t group = 0; group < groups.count(); ++group) {
    sums[host_of(groups.members(group).front())] += std::ssize(groups.blocks(group));
    all_sums += std::ssize(groups.blocks(group));
  }
  // Parts that are sent, at most: by a rank to its group, then within its host, and by a host.
  int64_t to_group = 0, in_host = 0, out = 0, in = 0, messages = 0;
  for (int rank = 0; rank < ranks; ++rank) {
    const ExchangeLoad load = groups.load_of(rank);
    const size_t group = groups.group_of(rank);
    to_group = std::max({to_group, load.sent_within, load.received_within});
    messages = std::max(messages, load.sent_within + load.sent);
    if (groups.members(group).size() > 1) continue;
    in_host = std::max(in_host, std::ssize(groups.blocks(group)) * (sizes[host_of(rank)] - 1));
  }
  for (size_t host = 0; host < sizes.size(); ++host) {
    out = std::max(out, sums[host] * (ranks - sizes[host]));
    in = std::max(in, (all_sums - sums[host]) * sizes[host]);
  }
  const double part = bytes / ranks, local = local_link > 0 ? local_link : link;
  const auto parts = [&](int64_t count) { return static_cast<double>(count) * part; };
  const double across = out > 0 ? parts(std::max(out, in)) / link : 0;
  return {.latency = latency * static_cast<double>(messages),
          .element_seconds = parts(to_group) / local + std::max(across, parts(in_host) / local),
          .element_bytes_out = parts(out)};
}

double NetworkModel::short_sum_seconds(int ranks) const {
  return ranks <= 1 ? 0 : 2 * latency * std::ceil(std::log2(ranks));
}

}  // namespace kessoku::runtime
