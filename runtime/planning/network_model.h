#pragma once

#include "runtime/communication/summation_tree.h"

namespace kessoku::runtime {

/// What a collective costs, as a line over the elements of the whole tensor.
struct CollectiveCost {
  double latency = 0;            ///< seconds, whatever the size
  double element_seconds = 0;    ///< for each element
  double element_bytes_out = 0;  ///< that leave the host whose link carries most, for each element
  double seconds(double numel) const { return latency + numel * element_seconds; }
  double bytes_out(double numel) const { return numel * element_bytes_out; }
};

/// What joins the ranks. What a collective takes over it follows the α-β model (Hockney, 1994): a
/// message costs `latency`, and its bytes divided by the bandwidth; a rank sends one after the
/// other.
struct NetworkModel {
  double link = 0;         ///< bytes a second between hosts, each way, a host
  double latency = 0;      ///< seconds a message
  int ranks_per_host = 1;  ///< that share a host's link; the last host may have fewer
  double local_link = 0;   ///< bytes a second between ranks of a host, a rank; 0 = as `link`
  /// NCCL: rings that cross a host's link once however many ranks the host has. Else MPI's direct
  /// exchange, where every rank sends to every other.
  bool rings = false;

  /// Of a tensor, `bytes` an element, that every rank gets whole (all-gather), or has whole and
  /// sums as the library likes it (reduce-scatter).
  CollectiveCost exchange(int ranks, double bytes) const;
  /// Of a reduce-scatter along `tree`, as TreeExchange does it.
  CollectiveCost tree_exchange(const SummationTree& tree, double bytes) const;
  /// Of a sum so short that only the latencies count: a message there and back a doubling of ranks.
  double short_sum_seconds(int ranks) const;
};

}  // namespace kessoku::runtime
