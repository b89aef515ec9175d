#pragma once

#include <ATen/core/Tensor.h>

#include <functional>

#include "data/store.h"

namespace kessoku::data {

struct PrepareOptions {
  std::filesystem::path dataset;
  std::filesystem::path store;
  Dialect dialect = Dialect::kEveryDream2;
  int64_t resolution = 512;
  std::vector<Kind> keep{Kind::kMoments};
  bool strict = false;  ///< stop when an image is bad, after listing all
  int rank = 0;         ///< this process prepares shard `rank` of `ranks`
  int ranks = 1;
  int threads = 0;  ///< decoding threads; 0 = all cores
  EncoderInfo encoder;
  /// images (B, 3, H, W) in −1…1 → moments (B, 2C, h, w). Needed for latents and moments.
  std::function<at::Tensor(const at::Tensor&)> encode;
  /// Called now and then while images are checked, before any is encoded: done and in all, of this
  /// rank.
  std::function<void(uint64_t, uint64_t)> on_check;
  /// Called after each batch: images done and in all, of this rank.
  std::function<void(uint64_t, uint64_t)> on_progress;
  /// Waits for all ranks; does nothing in a single process.
  std::function<void()> barrier;
};

/// Of all ranks together.
struct PrepareSummary {
  uint64_t examples = 0;
  uint64_t encoded = 0;    ///< newly encoded
  uint64_t reused = 0;     ///< taken from the store as it was
  bool unchanged = false;  ///< nothing had to be written
  std::vector<Skipped> skipped;
  std::vector<std::string> warnings;
};

/// Folders → store. Every rank calls it; rank 0 writes the manifest last. What has not changed
/// (content, settings, VAE) is not encoded again. Every image is decoded whole before the first is
/// encoded, so that bad ones are known early; images that fit a bounded memory are kept, others are
/// decoded once more for encoding. Readers of a store that is being replaced go on undisturbed.
/// Throws UsageError/DataError; with `strict`, DataError listing all bad images.
PrepareSummary prepare_store(const PrepareOptions& options);

}  // namespace kessoku::data
