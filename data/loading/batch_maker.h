#pragma once

#include "data/loading/draw_augmentation.h"
#include "data/loading/row_reader.h"
#include "data/loading/slab_pool.h"

namespace kessoku::data {

/// Turns draws into a batch: reads their rows, and makes all that is random about them, keyed by
/// (seed, purpose, draw number). Safe for concurrent use. What Loader's threads run.
class BatchMaker {
 public:
  /// Throws UsageError where the options contradict each other or the store lacks what they need.
  BatchMaker(const Store& store, const LoaderOptions& options, RowReader::Substitutes substitutes);

  /// All of `draws` share one bucket.
  Batch make(uint64_t step, uint32_t micro, std::vector<Draw> draws) const;

 private:
  std::vector<int64_t> latent_shape(const Batch& batch) const;
  void read_rows(Batch& batch) const;
  void fill_latent(const Draw& draw, const at::Tensor& row, std::span<float> out) const;
  void fill_noises(Batch& batch) const;
  void fill_masks(Batch& batch) const;
  void fill_numbers(Batch& batch) const;
  void fill_input_ids(Batch& batch) const;

  const Store& store_;
  LoaderOptions options_;
  DrawAugmentation choices_;
  std::vector<Kind> kinds_;  // that are read: of latents, of images, or both in this order
  RowReader reader_;
  mutable SlabPool slabs_, rows_;  // of batches, and for rows on their way
};

}  // namespace kessoku::data
