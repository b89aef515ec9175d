#include "model/networks/winograd.h"

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/functions/utils.h>

#include <algorithm>
#include <array>

#include "model/kernels/autograd_node.h"
#include "model/kernels/winograd_transforms.h"
#include "model/networks/flop_counter.h"
#include "model/networks/layers.h"

namespace kessoku::model {

namespace {

constexpr int64_t kFewWeights = int64_t{1} << 16;  ///< pairs of channels that stay in the cache
constexpr int64_t kMostValues = int64_t{1} << 24;  ///< at spots, at a time
constexpr int64_t kBlock = 128;                    ///< tiles of a thread, where there are many
constexpr int64_t kFewTiles = 16;                  ///< a thread takes at least

/// m of F(m × m, 3 × 3), by what was measured on a processor with AVX-512; 0: neither pays.
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

/// Calls `work` with the first of each kWinogradChannels channels, which are one thread's.
template <typename Work>
void for_each_vector(int64_t channels, const Work& work) {
  at::parallel_for(0, channels / kWinogradChannels, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) work(i * kWinogradChannels);
  });
}

/// What a convolution needs memory for, beside its results.
enum class Scratch { kWeights, kFrom, kTo, kProducts, kCount };

/// f32, of any values. The memory is the thread's and kept: fresh pages would take a tenth of a
/// convolution's time.
at::Tensor scratch(Scratch use, at::IntArrayRef shape) {
  thread_local std::array<at::Tensor, static_cast<size_t>(Scratch::kCount)> kept;
  at::Tensor& memory = kept.at(static_cast<size_t>(use));
  const int64_t size = c10::multiply_integers(shape);
  if (!memory.defined() || memory.numel() < size) {
    memory.reset();
    memory = at::empty({size}, at::kFloat);
  }
  return memory.narrow(0, 0, size).view(shape);
}

at::Tensor transformed(const WinogradWeights& shape, const at::Tensor& weight) {
  at::Tensor to = scratch(Scratch::kWeights, {shape.spots(), shape.rows(), shape.columns()});
  for_each_vector(shape.columns(), [&](int64_t column) {
    winograd_from_weights(shape, weight.const_data_ptr<float>(), column, to.data_ptr<float>());
  });
  return to;
}

/// Of `count` tiles from `first` on of x (N, C, H, W), channels-last, or of a gradient of the
/// output: (spots, count, C).
at::Tensor spots_of(const WinogradTiles& tiles, const at::Tensor& x, bool gradient, int64_t first,
                    int64_t count) {
  const int64_t channels = x.size(1);
  at::Tensor spots =
      scratch(gradient ? Scratch::kTo : Scratch::kFrom, {tiles.spots(), count, channels});
  at::parallel_for(0, count, kFewTiles, [&](int64_t begin, int64_t end) {
    (gradient ? winograd_from_output_gradient : winograd_from_input)(
        tiles, x.const_data_ptr<float>(),
        {spots.data_ptr<float>() + begin * channels, count * channels, channels, first + begin,
         end - begin});
  });
  return spots;
}

/// Writes the tiles from `first` on of `images` (N, C, H, W), channels-last: spots (spots, count,
/// C) plus bias (C), which may be null.
void write_tiles(const WinogradTiles& tiles, const at::Tensor& spots, int64_t first,
                 const float* bias, at::Tensor& images) {
  const int64_t count = spots.size(1), channels = spots.size(2);
  at::parallel_for(0, count, kFewTiles, [&](int64_t begin, int64_t end) {
    winograd_to_output(tiles,
                       {spots.data_ptr<float>() + begin * channels, count * channels, channels,
                        first + begin, end - begin},
                       bias, images.data_ptr<float>());
  });
}

/// products = a · b at each spot, or plus that. Each spot's is one thread's.
void multiply(at::Tensor& products, const at::Tensor& a, const at::Tensor& b, bool plus = false) {
  at::parallel_for(0, products.size(0), 1, [&](int64_t begin, int64_t end) {
    const at::NoGradGuard no_grad;
    for (int64_t spot = begin; spot < end; ++spot) {
      at::Tensor product = products.select(0, spot);
      if (plus) {
        product.addmm_(a.select(0, spot), b.select(0, spot));
      } else {
        at::mm_out(product, a.select(0, spot), b.select(0, spot));
      }
    }
  });
}

/// x (N, C, H, W), channels-last, with transformed weights (spots, C, out), plus bias (out), which
/// may be null. A few tiles are shared out spot by spot, many of them block by block; no sum
/// depends on the number of threads.
at::Tensor convolve(const WinogradTiles& tiles, const at::Tensor& x, const at::Tensor& weights,
                    const float* bias) {
  const int64_t in = weights.size(1), out = weights.size(2), count = tiles.count();
  at::Tensor result = at::empty({tiles.images, out, tiles.height, tiles.width},
                                x.options().requires_grad(false), at::MemoryFormat::ChannelsLast);
  const auto convolve_block = [&](int64_t first, int64_t size) {
    const at::Tensor from = spots_of(tiles, x, false, first, size);
    at::Tensor to = scratch(Scratch::kTo, {tiles.spots(), size, out});
    multiply(to, from, weights);
    write_tiles(tiles, to, first, bias, result);
  };
  if (count * tiles.spots() * (in + out) <= kMostValues) {
    convolve_block(0, count);
    return result;
  }
  at::parallel_for(0, (count + kBlock - 1) / kBlock, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      convolve_block(i * kBlock, std::min(kBlock, count - i * kBlock));
  });
  return result;
}

at::Tensor weight_gradient(const WinogradTiles& tiles, const at::Tensor& x,
                           const at::Tensor& gradient, const at::Tensor& weight) {
  const WinogradWeights shape{tiles.side, weight.size(1), weight.size(0)};
  const int64_t count = tiles.count(),
                most = std::max(kBlock, kMostValues / (tiles.spots() * (shape.in + shape.out)));
  at::Tensor products = scratch(Scratch::kProducts, {tiles.spots(), shape.in, shape.out});
  for (int64_t first = 0; first < count; first += most) {
    const int64_t size = std::min(most, count - first);
    multiply(products, spots_of(tiles, x, false, first, size).transpose(1, 2),
             spots_of(tiles, gradient, true, first, size), /*plus=*/first > 0);
  }
  at::Tensor result = at::empty(weight.sizes(), at::kFloat);
  for_each_vector(shape.out, [&](int64_t column) {
    winograd_to_weight_gradient(shape, products.const_data_ptr<float>(), column,
                                result.data_ptr<float>());
  });
  return result;
}

at::Tensor bias_gradient(const at::Tensor& gradient) {
  const int64_t channels = gradient.size(1);
  at::Tensor sums = at::empty({channels}, at::kFloat);
  for_each_vector(channels, [&](int64_t first) {
    winograd_sum_pixels(gradient.const_data_ptr<float>(), gradient.numel() / channels, channels,
                        first, sums.data_ptr<float>());
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
    const at::Tensor x = to_channels_last(x_.unpack()), weight = weight_.unpack(),
                     gradient = to_channels_last(gradients[0]);
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
    out = convolve(tiles, to_channels_last(x), transformed(shape, weight),
                   bias.const_data_ptr<float>());
  }
  if (torch::autograd::compute_requires_grad(x, weight, bias))
    torch::autograd::set_history(out, make_node<WinogradBackward>(x, weight, bias));
  return out;
}

}  // namespace kessoku::model
