#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "runtime/config/config.h"
#include "runtime/planning/network_model.h"

namespace kessoku::runtime {

/// What a rank's step takes where exchanging takes no time. Seconds.
struct StepCosts {
  double forward = 0, backward = 0;  ///< of a micro-batch
  double norm = 0;                   ///< of the own gradients
  double update = 0;                 ///< clipping, optimizer and averages of the own parameters
  /// When each bucket of gradients is ready, in the order of sending, as a part of backward; empty
  /// = evenly over it.
  std::vector<double> ready;
  /// When forward comes to each bucket of weights, in the order of sending, as a part of forward;
  /// empty = evenly over it.
  std::vector<double> needed;
};

/// What a rank exchanges in a step.
struct Traffic {
  std::vector<double> buckets;  ///< elements of each, padding included
  /// Along which gradients are summed; none = one leaf a rank.
  std::optional<SummationTree> tree;
  bool as_nccl_sums = false;  ///< where there is NCCL, instead of along the tree
  double gradient_bytes = 4;  ///< of an element on the wire
  double weight_bytes = 4;    ///< of an element
  bool shard = true, overlap = true;
};

/// Of `numel` trained elements in a run over `ranks`.
Traffic traffic_of(const RunConfig& config, int64_t numel, int ranks);

struct StepPrediction {
  double seconds = 0;        ///< of a step
  double compute = 0;        ///< of that, what is computed
  double communication = 0;  ///< what collectives take, hidden or not
  double exposed = 0;        ///< of that, what nothing hides: seconds − compute
  double bytes_out = 0;      ///< that leave the host whose link carries most
};

/// A step far from the run's beginning, as Trainer::step goes: buckets of gradients are sent one
/// after the other as they become ready in the last micro-batch's backward (or after it, without
/// overlap); then one short sum of scalars; each bucket's weights are sent once they are stepped,
/// in the opposite order, and awaited when the next step's first forward comes to them (or before
/// it, without overlap).
StepPrediction predict_step(const StepCosts& costs, uint64_t accumulation, const Traffic& traffic,
                            const NetworkModel& network, int ranks);

}  // namespace kessoku::runtime
