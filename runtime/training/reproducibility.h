#pragma once

#include <ATen/core/Tensor.h>

#include <string>

#include "runtime/communication/communicator.h"
#include "runtime/config/config.h"

namespace kessoku::runtime {

/// Why a run over `ranks` rounds otherwise than over other numbers of ranks; empty if every number
/// of ranks that divides the micro-batches of a step gives the same bits.
std::string rank_dependence(const RunConfig& config, int ranks);

/// The same in a line of the run's summary.
std::string describe_reproducibility(const RunConfig& config, int ranks);

/// What else decides how a rank rounds: the kind of device and the threads, as "CPU AVX512, 2
/// threads". A run that is resumed elsewhere has the same bits only if this is the same.
std::string arithmetic_of(at::Device device);

/// Whether every rank computes what any other does to the bit. Collective.
bool rounds_alike(at::Device device, Communicator& communicator);

/// A warning if the ranks' arithmetic differs, else nothing. Collective.
std::string arithmetic_warning(at::Device device, Communicator& communicator);

}  // namespace kessoku::runtime
