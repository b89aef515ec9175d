#pragma once

#include <ATen/core/Tensor.h>

namespace kessoku::model {

/// Whether `winograd_conv2d` takes x (N, C, H, W) and weight (out, C, 3, 3), and less time than
/// LibTorch's convolution, which takes 2.25 (F(2 × 2)) to 4 times (F(4 × 4)) as many products: on
/// CPUs, in f32, with 16 channels or multiples, where images are not so small that to transform the
/// weights would take longer.
bool suits_winograd(const at::Tensor& x, const at::Tensor& weight);

/// The convolution of x with 3 × 3 weights (stride 1, padding 1) plus bias (out), channels-last.
/// Its error is that of LibTorch's or less where F(2 × 2) is used, and 4 times as large with
/// F(4 × 4). Results have the same bits on any number of threads.
at::Tensor winograd_conv2d(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias);

}  // namespace kessoku::model
