#include "model/networks/winograd.h"

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/bmm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/mm.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/functions/utils.h>

#include <algorithm>

#include "model/kernels/autograd_node.h"
#include "model/kernels/winograd_transforms.h"
#include "model/networks/flop_counter.h"

namespace kessoku::model {

namespace {

constexpr int64_t kFewWeights = int64_t{1} << 16;  ///< pairs of channels that stay in the cache

/// m of F(m × m, 3 × 3), by what was measured on processors with AVX-512; 0: neither pays.
int64_t choose_side(int64_t pixels, int64_t pairs) {
  if (pixels >= (pairs <= kFewWeights ? 1024 : 2048)) return 4;
  return pixels >= (pairs <= kFewWeights ? 256 : 512) ? 2 : 0;
}

int64_t choose_side(const at::Tensor& x, const at::Tensor& weight) {
  return choose_side(x.size(0) * x.size(2) * x.size(3), weight.size(0) * weight.size(1));
}

/// As a direct convolution, of one of its three products.
int64_t nominal_flops(const WinogradTiles& tiles, const at::Tensor& weight) {
  return 2 * tiles.images * tiles.height * tiles.width * weight.numel();
}

WinogradTiles tiles_of(int64_t side, const at::Tensor& x) {
  return {side, x.size(0), x.size(2), x.size(3)};
}

at::Tensor channels_last(const at::Tensor& x) {
  return x.contiguous(at::MemoryFormat::ChannelsLast);
}

at::Tensor transformed(const WinogradWeights& shape, const at::Tensor& weight) {
  const int64_t spots = (shape.side + 2) * (shape.side + 2);
  at::Tensor out =
      at::empty({spots, shape.rows(), shape.columns()}, weight.options().requires_grad(false));
  at::parallel_for(0, shape.columns() / kWinogradChannels, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      winograd_from_weights(shape, weight.const_data_ptr<float>(), i * kWinogradChannels,
                            out.data_ptr<float>());
    }
  });
  return out;
}

/// All tiles of x (N, C, H, W), channels-last, or of a gradient of the output: (spots, tiles, C).
at::Tensor all_spots(const WinogradTiles& tiles, const at::Tensor& x, bool gradient) {
  constexpr int64_t kBlock = 16;
  const int64_t channels = x.size(1), count = tiles.count();
  at::Tensor out = at::empty({tiles.spots(), count, channels}, x.options().requires_grad(false));
  at::parallel_for(0, (count + kBlock - 1) / kBlock, 1, [&](int64_t begin, int64_t end) {
    const int64_t first = begin * kBlock, last = std::min(count, end * kBlock);
    const SpotValues spots{out.data_ptr<float>() + first * channels, count * channels, channels,
                           first, last - first};
    (gradient ? winograd_from_output_gradient : winograd_from_input)(
        tiles, x.const_data_ptr<float>(), spots);
  });
  return out;
}

/// x (N, C, H, W), channels-last, with transformed weights (spots, C, out). Blocks of tiles are
/// one thread's, whatever the number of threads.
at::Tensor convolve(const WinogradTiles& tiles, const at::Tensor& x, const at::Tensor& weights,
                    const float* bias) {
  const int64_t in = weights.size(1), out = weights.size(2), count = tiles.count();
  const int64_t block = std::min(count, int64_t{tiles.side == 2 ? 128 : 64});
  at::Tensor result = at::empty({tiles.images, out, tiles.height, tiles.width},
                                x.options().requires_grad(false), at::MemoryFormat::ChannelsLast);
  at::parallel_for(0, (count + block - 1) / block, 1, [&](int64_t begin, int64_t end) {
    const at::NoGradGuard no_grad;
    at::Tensor from = at::empty({tiles.spots(), block, in}, result.options()),
               to = at::empty({tiles.spots(), block, out}, result.options());
    for (int64_t i = begin; i < end; ++i) {
      const int64_t first = i * block, size = std::min(block, count - first);
      winograd_from_input(tiles, x.const_data_ptr<float>(),
                          {from.data_ptr<float>(), block * in, in, first, size});
      at::bmm_out(to, from, weights);
      winograd_to_output(tiles, {to.data_ptr<float>(), block * out, out, first, size}, bias,
                         result.data_ptr<float>());
    }
  });
  return result;
}

/// The gradient of the weights: each spot's product is one thread's.
at::Tensor weight_gradient(const WinogradTiles& tiles, const at::Tensor& x,
                           const at::Tensor& gradient, const at::Tensor& weight) {
  const WinogradWeights shape{tiles.side, weight.size(1), weight.size(0)};
  const at::Tensor from = all_spots(tiles, x, false).transpose(1, 2),
                   to = all_spots(tiles, gradient, true);
  at::Tensor products = at::empty({tiles.spots(), shape.in, shape.out}, from.options());
  at::parallel_for(0, tiles.spots(), 1, [&](int64_t begin, int64_t end) {
    const at::NoGradGuard no_grad;
    for (int64_t spot = begin; spot < end; ++spot) {
      at::Tensor product = products.select(0, spot);
      at::mm_out(product, from.select(0, spot), to.select(0, spot));
    }
  });
  at::Tensor result = at::empty_like(weight, weight.options().requires_grad(false));
  at::parallel_for(0, shape.out / kWinogradChannels, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      winograd_to_weight_gradient(shape, products.const_data_ptr<float>(), i * kWinogradChannels,
                                  result.data_ptr<float>());
    }
  });
  return result;
}

at::Tensor bias_gradient(const at::Tensor& gradient) {
  const int64_t channels = gradient.size(1);
  at::Tensor sums = at::empty({channels}, gradient.options());
  at::parallel_for(0, channels / kWinogradChannels, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      winograd_sum_pixels(gradient.const_data_ptr<float>(), gradient.numel() / channels, channels,
                          i * kWinogradChannels, sums.data_ptr<float>());
    }
  });
  return sums;
}

class WinogradBackward : public torch::autograd::Node {
 public:
  WinogradBackward(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias)
      : Node(torch::autograd::collect_next_edges(x, weight, bias)),
        x_(x, /*is_output=*/false),
        weight_(weight, /*is_output=*/false) {}

  torch::autograd::variable_list apply(torch::autograd::variable_list&& gradients) override {
    const at::NoGradGuard no_grad;
    const at::Tensor x = channels_last(x_.unpack()), weight = weight_.unpack(),
                     gradient = channels_last(gradients[0]);
    const WinogradTiles tiles = tiles_of(choose_side(x, weight), x);
    const bool for_x = task_should_compute_output(0), for_weight = task_should_compute_output(1);
    FlopCounter::add((int64_t{for_x} + int64_t{for_weight}) * nominal_flops(tiles, weight));
    const FlopCounter::Pause pause;
    torch::autograd::variable_list results(3);
    if (for_x) {
      const WinogradWeights shape{tiles.side, weight.size(1), weight.size(0), /*transposed=*/true};
      results[0] = convolve(tiles, gradient, transformed(shape, weight), nullptr);
    }
    if (for_weight) results[1] = weight_gradient(tiles, x, gradient, weight);
    if (task_should_compute_output(2)) results[2] = bias_gradient(gradient);
    return results;
  }

  void release_variables() override {
    x_.reset_data();
    weight_.reset_data();
  }

 private:
  torch::autograd::SavedVariable x_, weight_;
};

}  // namespace

bool suits_winograd(const at::Tensor& x, const at::Tensor& weight) {
  return x.is_cpu() && x.scalar_type() == at::kFloat && weight.scalar_type() == at::kFloat &&
         weight.size(2) == 3 && weight.size(3) == 3 && weight.is_contiguous() &&
         weight.size(0) % kWinogradChannels == 0 && weight.size(1) % kWinogradChannels == 0 &&
         choose_side(x, weight) != 0;
}

at::Tensor winograd_conv2d(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  const WinogradTiles tiles = tiles_of(choose_side(x, weight), x);
  const WinogradWeights shape{tiles.side, weight.size(1), weight.size(0)};
  FlopCounter::add(nominal_flops(tiles, weight));
  at::Tensor out;
  {
    const FlopCounter::Pause pause;
    const at::NoGradGuard no_grad;
    out =
        convolve(tiles, channels_last(x), transformed(shape, weight), bias.const_data_ptr<float>());
  }
  if (torch::autograd::compute_requires_grad(x, weight, bias))
    torch::autograd::set_history(out, make_node<WinogradBackward>(x, weight, bias));
  return out;
}

}  // namespace kessoku::model
