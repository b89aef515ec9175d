#include "runtime/planning/network_model.h"

#include <algorithm>
#include <cmath>

namespace kessoku::runtime {

double NetworkModel::exchange_seconds(int ranks, double bytes) const {
  if (ranks <= 1) return 0;
  const double part = bytes / ranks;
  const int together = std::min(ranks, ranks_per_host), elsewhere = ranks - together;
  const double local = local_link > 0 ? local_link : link;
  double seconds = latency * (ranks - 1);
  if (rings) {
    if (elsewhere > 0) seconds += (ranks - 1) * part / std::min(link, local);
    if (elsewhere == 0) seconds += (ranks - 1) * part / local;
    return seconds;
  }
  // A rank's messages within the host and to others travel at the same time.
  const double across = elsewhere > 0 ? together * elsewhere * part / link : 0;
  const double within = (together - 1) * part / local;
  return seconds + std::max(across, within);
}

double NetworkModel::tree_seconds(int ranks, double bytes) const {
  if (ranks <= 1) return 0;
  const double part = bytes / ranks;
  const int together = std::min(ranks, ranks_per_host);
  const int hosts = (ranks + together - 1) / together;
  const double local = local_link > 0 ? local_link : link;
  // A host sends each part of the others' ranks once, and its ranks each other what they have.
  return latency * ((together - 1) * hosts + hosts - 1) + (together - 1) * hosts * part / local +
         together * (hosts - 1) * part / link;
}

double NetworkModel::short_sum_seconds(int ranks) const {
  return ranks <= 1 ? 0 : 2 * latency * std::ceil(std::log2(ranks));
}

}  // namespace kessoku::runtime
