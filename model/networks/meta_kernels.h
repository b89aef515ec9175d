#pragma once

namespace kessoku::model {

/// Lets networks be run on the meta device, forward and backward: LibTorch has some of the kernels
/// that they need there in Python alone. What they allocate is what a GPU's kernels do; attention
/// is flash attention's. As LibTorch's own, they refuse a tensor of another device. Any number of
/// calls.
void register_meta_kernels();

}  // namespace kessoku::model
