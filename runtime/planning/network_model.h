#pragma once

namespace kessoku::runtime {

/// What joins the ranks. What a collective takes over it follows the α-β model (Hockney, 1994): a
/// message costs `latency`, and its bytes divided by the bandwidth; of R parts a rank sends R − 1,
/// one after the other.
struct NetworkModel {
  double link = 0;         ///< bytes a second between hosts, each way, a host
  double latency = 0;      ///< seconds a message
  int ranks_per_host = 1;  ///< that share a host's link
  double local_link = 0;   ///< bytes a second between ranks of a host, a rank; 0 = as `link`
  /// NCCL: rings that cross a host's link once however many ranks the host has. Else MPI's direct
  /// exchange, where every rank sends to every other.
  bool rings = false;

  /// Of `bytes` that every rank has whole (reduce-scatter) or gets whole (all-gather).
  double exchange_seconds(int ranks, double bytes) const;
  /// Of `bytes` that are summed along a tree: ranks of a host first, then the hosts.
  double tree_seconds(int ranks, double bytes) const;
  /// Of a sum so short that only the latencies count: a message there and back a doubling of ranks.
  double short_sum_seconds(int ranks) const;
};

}  // namespace kessoku::runtime
