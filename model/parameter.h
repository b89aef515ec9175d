#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

namespace kessoku::model {

/// A weight of a network under its diffusers name ("down_blocks.0.resnets.0.conv1.weight"). The tensor shares its
/// identity with the layer's: `tensor.set_data(view)` moves the layer's storage too.
struct Parameter {
  std::string name;
  at::Tensor tensor;
};

/// In the order in which the network was built.
using Parameters = std::vector<Parameter>;

}  // namespace kessoku::model
