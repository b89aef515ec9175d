#pragma once

#include <ATen/core/Tensor.h>

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "data/loading/loader_settings.h"
#include "data/loading/mask.h"
#include "data/loading/noise.h"
#include "data/sampling/sampler.h"

namespace kessoku::data {

/// What a rank trains on at once: B draws of one bucket.
struct Batch {
  uint64_t step = 0;
  uint32_t micro = 0;                 ///< 0 … accumulation − 1
  std::vector<Draw> draws;            ///< B of them
  uint32_t replaced = 0;              ///< draws whose row was bad and that went to other examples
  std::vector<std::string> captions;  ///< as drawn: renamed, dropped to "" …
  uint32_t truncated = 0;             ///< captions that `encode_caption` cut off
  at::Tensor images;  ///< (B, 3, H, W) f32 in −1…1; defined if the store's images are asked for
  at::Tensor masks;   ///< (B, 1, H, W) f32, 1 where an inpainting model repaints; if asked for
  at::Tensor latents;     ///< (B, C, h, w) f32, scaled as the UNet sees them
  at::Tensor noise;       ///< as latents, unit normal unless the options say more; both are left
                          ///< undefined when images are asked for
  at::Tensor timesteps;   ///< (B) int64
  at::Tensor loss_scale;  ///< (B) f32: factors on the draws' losses
  at::Tensor input_ids;   ///< (B, 77·n) int64, if `encode_caption` is given
};

/// Token ids of a caption; `truncated`: it has more than these.
struct EncodedCaption {
  std::vector<int64_t> ids;
  bool truncated = false;
};

/// What a loader has done so far, for other threads to look at.
struct LoaderCounts {
  std::atomic<uint64_t> capacity = 0;   ///< micro-batches that it reads ahead
  std::atomic<uint64_t> ready = 0;      ///< of them
  std::atomic<uint64_t> captions = 0;   ///< that were read
  std::atomic<uint64_t> empty = 0;      ///< captions, by dropout or in the dataset
  std::atomic<uint64_t> truncated = 0;  ///< captions that `encode_caption` cut off
};

struct LoaderOptions : LoaderSettings {
  uint64_t seed = 0;
  uint64_t first_step = 0;
  uint64_t last_step = 0;    ///< one past the last
  uint64_t micro_batch = 4;  ///< B
  int rank = 0;
  int ranks = 1;
  bool images = false;               ///< images for training the VAE; else latents
  std::optional<MaskOptions> masks;  ///< images and masks too, for training an inpainting model
  int64_t first_timestep = 0;        ///< timesteps are drawn evenly from this one …
  int64_t timesteps = 1000;          ///< … to before this one
  NoiseOptions noise;
  bool pinned = false;  ///< batches lie in page-locked memory; needs a GPU
  /// Whether the dataset's own settings of dropout, flip, tag order and loss scale count.
  bool use_settings = true;
  /// If given, a row that cannot be read or fails its checksum does not stop the run: another
  /// example takes its draw (Sampler::substitutes). Told once a row what is wrong with it, by the
  /// loader's threads.
  std::function<void(const std::string& problem)> on_bad_row;
  /// Called by the loader's threads, must be safe for concurrent use.
  std::function<EncodedCaption(const std::string&)> encode_caption;
  std::shared_ptr<LoaderCounts> counts = std::make_shared<LoaderCounts>();
};

/// Turns draws into batches ahead of time. Of a step's G draws, rank r of R takes the places
/// [(r·A + a)·B, (r·A + a + 1)·B) in its micro-batch a of A = G / (R·B): the micro-batches of all
/// ranks are the same for every R. Everything random is keyed by (seed, purpose, draw number), so
/// it is the same for all R, B and threads.
///
/// Latents come from the moments, sampled anew for each draw: (mean + exp(logvar / 2) · unit
/// normal) · scaling factor, or from the latents where the store keeps no moments. Captions are
/// renamed, then their tags shuffled, then dropped.
class Loader {
 public:
  /// Keeps a reference to `store`. Throws UsageError where the options contradict each other or the
  /// store lacks what they need.
  Loader(const Store& store, Sampler sampler, const LoaderOptions& options);
  ~Loader();

  /// The next micro-batch of this rank, in order. Rethrows what a reading thread threw. Throws
  /// std::logic_error past the last step.
  Batch next();
  /// The G draws of a step, anew from the sampler.
  std::vector<Draw> draws(uint64_t step);
  /// Micro-batch `micro` of `rank` in a step, read anew, whatever `next` is at.
  Batch read(uint64_t step, int rank, uint64_t micro);
  /// May be kept when the loader is gone.
  std::shared_ptr<const LoaderCounts> counts() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace kessoku::data
