#include "data/prepare/cached_latents.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/checksum.h"
#include "base/error.h"
#include "base/file.h"
#include "base/folder.h"
#include "data/dataset/kohya_latents.h"

namespace kessoku::data {

namespace fs = std::filesystem;

namespace {

constexpr uint64_t kMostBytes = uint64_t{256} << 20;

/// Why no latents at all can be used; empty if they can.
std::string obstacle(const PrepareOptions& options) {
  if (options.keep != std::vector{Kind::kLatents})
    return "the store is to keep other things than latents; see --keep";
  if (options.fit.variants != 1) return "the store is to hold several variants of an image";
  if (options.latent_channels != kKohyaChannels || options.downscale != kKohyaDownscale)
    return "the VAE's latents are of another shape";
  return {};
}

}  // namespace

void keep_ready_latents(Dataset& dataset, const PrepareOptions& options) {
  const std::string general = obstacle(options);
  const std::vector<Bucket>& table = options.fit.table;
  size_t there = 0, other_size = 0;
  for (Example& example : dataset.examples) {
    if (example.latents.empty()) continue;
    ++there;
    const bool fits = std::ranges::find(table, *example.size) != table.end();
    if (general.empty() && fits) continue;
    other_size += !fits;
    example.latents.clear();
    example.size.reset();
  }
  if (there > 0 && !general.empty()) {
    dataset.warnings.push_back(
        fmt::format("latents beside {} images are not used: {}", there, general));
  } else if (other_size > 0) {
    dataset.warnings.push_back(fmt::format(
        "latents beside {} of {} images are not used: their sizes are no buckets; see --buckets",
        other_size, there));
  }
}

void warn_of_flips(Dataset& dataset, const PrepareOptions& options) {
  // Mirrored variants are drawn as often as is asked for.
  const bool images = std::ranges::find(options.keep, Kind::kImages) != options.keep.end();
  if (images || options.fit.variants > 1) return;
  if (std::ranges::none_of(dataset.settings, [](const Settings& settings) {
        return settings.flip.value_or(0) > 0;
      })) {
    return;
  }
  dataset.warnings.push_back(
      "flip_p is not used: latents cannot be mirrored when they are drawn; --variants 2 keeps a "
      "mirror image of each, too, which is then drawn as often as flip_p says");
}

uint64_t content_hash(const Dataset& dataset, const Example& example, std::string_view encoded) {
  Checksummer sum;
  sum.add(std::as_bytes(std::span(encoded)));
  const fs::path latents = dataset.root / example.latents;
  if (!example.latents.empty() && is_file(latents)) sum.add(read_file(latents, kMostBytes));
  return sum.value();
}

at::Tensor read_ready_latents(const Dataset& dataset, const Example& example) {
  const at::Tensor latents = read_kohya_latents(dataset.root / example.latents);
  if (latents.size(1) * kKohyaDownscale != example.size->height ||
      latents.size(2) * kKohyaDownscale != example.size->width) {
    throw DataError(
        fmt::format("{}: changed while the store was prepared; run it again", example.latents));
  }
  return latents.to(at::kHalf).contiguous();
}

}  // namespace kessoku::data
