#pragma once

#include <ATen/core/Tensor.h>

#include <functional>

#include "base/error.h"
#include "data/images/fit_image.h"
#include "data/store/store.h"

namespace kessoku::data {

struct PrepareOptions {
  std::filesystem::path dataset;
  DatasetOptions reading{};
  std::filesystem::path store;
  int64_t resolution = 512;
  FitOptions fit;  ///< an empty table stands for bucket_table(resolution)
  std::vector<Kind> keep{Kind::kMoments};
  bool strict = false;  ///< stop when an image is bad, after listing all
  bool captions_only =
      false;             ///< refresh a store's captions and settings; images are not looked at
  bool replace = false;  ///< the store may lose rows that nobody removed from the dataset
  int rank = 0;          ///< this process prepares shard `rank` of `ranks`
  int ranks = 1;
  int threads = 0;  ///< decoding threads; 0 = all cores
  EncoderInfo encoder;
  /// One image (1, 3, H, W) in −1…1 → moments (1, 2C, h, w). Needed for latents and moments. Called
  /// from `threads` threads at once; should itself use one, so that the same image gives the same
  /// bits whatever the number of threads and ranks.
  std::function<at::Tensor(const at::Tensor&)> encode;
  int64_t latent_channels = 4;  ///< C
  int64_t downscale = 8;        ///< H / h
  /// Called now and then: stage ("check": every image is looked for; "copy": rows that are known
  /// are taken over; "encode": the others are made), done and in all, of this rank. Not called at
  /// once from two threads.
  std::function<void(const char*, uint64_t, uint64_t)> on_progress;
  /// Gives each rank the texts of all, in the order of ranks. Not needed for one rank.
  std::function<std::vector<std::string>(const std::string&)> gather;
};

/// Images that cannot be used, where that is a reason to stop. `what` names the first.
class BadImages : public DataError {
 public:
  explicit BadImages(std::vector<Skipped> images);
  /// Of images that `store` holds as they once were.
  BadImages(std::vector<Skipped> images, const std::filesystem::path& store);
  const std::vector<Skipped>& images() const { return images_; }

 private:
  std::vector<Skipped> images_;
};

/// Of all ranks together.
struct PrepareSummary {
  uint64_t examples = 0;
  uint64_t encoded = 0;    ///< newly made
  uint64_t reused = 0;     ///< taken from the store as it was, or from interrupted work
  uint64_t refreshed = 0;  ///< got another caption, category or settings, and kept their place
  bool unchanged = false;  ///< no row had to be written
  std::vector<Skipped> skipped;
  std::vector<std::string> warnings;
};

/// Folders → store. Every rank calls it; rank 0 writes the manifest last: then the new store
/// counts, and readers of the old one go on undisturbed. What has not changed (content, settings,
/// VAE) is not encoded again; where only captions or settings changed no row is touched.
/// Interrupted work (also by kill -9, also of another number of ranks) goes on where it was. Images
/// that cannot be decoded are listed and left out. Memory does not grow with the images, but for
/// some hundred bytes each.
///
/// Throws UsageError/DataError; BadImages with all of them if there are any and `strict` is set, or
/// if no image is left. UsageError if another process prepares this store. SystemError where the
/// machine fails: that an image could not be read says nothing about it. Without `replace`
/// UsageError if all rows would be replaced for other settings, or more than half of them are gone
/// from the dataset, and BadImages if images of the store cannot be used any more. The store is
/// then as it was. `reading.on_failure` gets the warnings collected so far.
PrepareSummary prepare_store(const PrepareOptions& options);

}  // namespace kessoku::data
