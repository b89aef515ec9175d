#pragma once

#include "model/networks/text_encoder.h"

namespace kessoku::model {

/// Which network's weights: keeps their random streams apart.
enum class Network : uint64_t { kUNet = 0, kTextEncoder = 1, kVae = 2 };

/// Fills convolutions, matrices and their biases as PyTorch does by default, uniform in ±1/√fan-in,
/// and norms with 1 and 0. A pure function of shapes, order, `network` and `seed`.
void initialize_weights(const Parameters& parameters, Network network, uint64_t seed);

/// As transformers initializes CLIP: normal, of deviations that depend on width and depth; biases
/// 0.
void initialize_text_encoder(const TextEncoder& encoder, uint64_t seed);

}  // namespace kessoku::model
