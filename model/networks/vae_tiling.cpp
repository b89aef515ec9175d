#include "model/networks/vae_tiling.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>

#include <functional>

#include "base/error.h"

namespace kessoku::model {

namespace {

/// Sides of tiles and overlaps, all multiples of a latent pixel.
struct Tiling {
  int64_t tile;     // of the input
  int64_t advance;  // from a tile to the next, of the input
  int64_t fade;     // overlap, of the output
  int64_t kept;     // of a tile's output, from its top left corner
};

Tiling tiling(int64_t tile_in, int64_t tile_out) {
  return {tile_in, tile_in - tile_in / 4, tile_out / 4, tile_out - tile_out / 4};
}

/// Fades from the end of `before` into the beginning of `tile` along `dim`, in place.
void fade_in(const at::Tensor& before, const at::Tensor& tile, int64_t dim, int64_t fade) {
  fade = std::min({before.size(dim), tile.size(dim), fade});
  std::vector<int64_t> shape(4, 1);
  shape[static_cast<size_t>(dim)] = fade;
  const at::Tensor share = (at::arange(fade, tile.options()) / fade).view(shape);
  at::Tensor begin = tile.narrow(dim, 0, fade);
  begin.copy_(before.narrow(dim, before.size(dim) - fade, fade) * (1 - share) + begin * share);
}

/// Applies `run` to each tile of `input` (B, C, H, W).
at::Tensor run_tiled(const at::Tensor& input, const Tiling& tiling,
                     const std::function<at::Tensor(const at::Tensor&)>& run) {
  const int64_t height = input.size(2), width = input.size(3);
  at::Tensor output;
  std::vector<at::Tensor> above;  // the row of tiles before
  for (int64_t top = 0, y = 0; top < height; top += tiling.advance, y += tiling.kept) {
    std::vector<at::Tensor> row;
    for (int64_t left = 0, x = 0; left < width; left += tiling.advance, x += tiling.kept) {
      const at::Tensor part = input.slice(2, top, std::min(height, top + tiling.tile))
                                  .slice(3, left, std::min(width, left + tiling.tile));
      const at::Tensor tile = run(part.contiguous());
      if (!above.empty()) fade_in(above[row.size()], tile, 2, tiling.fade);
      if (!row.empty()) fade_in(row.back(), tile, 3, tiling.fade);
      row.push_back(tile);
      if (!output.defined()) {
        const auto scaled = [&](int64_t side) { return side * tiling.kept / tiling.advance; };
        output =
            at::empty({input.size(0), tile.size(1), scaled(height), scaled(width)}, tile.options());
      }
      const int64_t rows = std::min({tiling.kept, tile.size(2), output.size(2) - y});
      const int64_t columns = std::min({tiling.kept, tile.size(3), output.size(3) - x});
      output.narrow(2, y, rows)
          .narrow(3, x, columns)
          .copy_(tile.narrow(2, 0, rows).narrow(3, 0, columns));
    }
    above = std::move(row);
  }
  return output;
}

}  // namespace

at::Tensor decode_tiled(const Vae& vae, const at::Tensor& latents, int64_t tile) {
  const int64_t scale = vae.config().downscale();
  const int64_t latent_tile = tile / scale;
  if (tile == 0 || std::max(latents.size(2), latents.size(3)) <= latent_tile)
    return vae.decode(latents);
  return run_tiled(latents, tiling(latent_tile, tile),
                   [&](const at::Tensor& part) { return vae.decode(part); });
}

at::Tensor encode_tiled(const Vae& vae, const at::Tensor& images, int64_t tile) {
  if (tile == 0 || std::max(images.size(2), images.size(3)) <= tile) return vae.encode(images);
  const int64_t scale = vae.config().downscale();
  return run_tiled(images, tiling(tile, tile / scale),
                   [&](const at::Tensor& part) { return vae.encode(part); });
}

int64_t default_tile(const Vae& vae, int64_t width, int64_t height) {
  constexpr int64_t kLargest = int64_t{1024} * 1024 * 128;  // elements of the widest layer
  const bool is_large = width * height * vae.config().block_out_channels[0] > kLargest;
  const int64_t unit = 4 * vae.config().downscale();
  return is_large ? std::max(unit, vae.config().sample_size[0] / unit * unit) : 0;
}

void check_tile(const Vae& vae, int64_t tile) {
  const int64_t unit = 4 * vae.config().downscale();
  if (tile < 0 || tile % unit != 0) {
    throw UsageError(
        fmt::format("tiles of {} pixels: they must be 0 (off) or a multiple of {}", tile, unit));
  }
}

}  // namespace kessoku::model
