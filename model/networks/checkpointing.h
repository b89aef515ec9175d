#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <vector>

namespace kessoku::model {

using Tensors = std::vector<at::Tensor>;

/// Part of a network: tensors in, one tensor out. It may own parameters; it must be a pure function
/// of them and of its inputs.
using Block = std::function<at::Tensor(const Tensors&)>;

/// Runs a block. With `recompute` (gradient checkpointing; Chen et al., 2016) backward keeps
/// nothing of it but its inputs, and runs it once more for what it needs: a third more arithmetic
/// for a fraction of the memory. Gradients are the same, to the last bit. What `block` refers to
/// must live until backward is through. If no input requires a gradient, `recompute` does nothing.
at::Tensor run_block(bool recompute, const Tensors& inputs, const Block& block);

}  // namespace kessoku::model
