#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

namespace kessoku::model {

/// A weight of a network under its diffusers name ("down_blocks.0.resnets.0.conv1.weight"). The
/// tensor shares its identity with the layer's: `tensor.set_data(view)` moves the layer's storage
/// too.
struct Parameter {
  std::string name;
  at::Tensor tensor;
};

/// In the order in which the network was built.
using Parameters = std::vector<Parameter>;

/// Elements of all of them.
int64_t count_elements(const Parameters& parameters);

/// Moves a network's weights; from then on it computes there.
void move_parameters(const Parameters& parameters, at::Device device);

/// Rounds a network's weights to `dtype` (kFloat, kBFloat16 or kHalf); from then on it computes in
/// that type. One tensor at a time is held twice.
void convert_parameters(const Parameters& parameters, at::ScalarType dtype);

}  // namespace kessoku::model
