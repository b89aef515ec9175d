#pragma once

#include "data/dataset/dataset.h"
#include "data/prepare/prepare.h"

namespace kessoku::data {

/// Of the latents that a dataset brings along, keeps those that can stand for encoding: if the
/// store is to keep latents only, one variant of each image, and the size is a bucket of the table.
/// Of the others the images are encoded as if there were none. Adds a line to `dataset.warnings`
/// for what was left out and why.
void keep_ready_latents(Dataset& dataset, const PrepareOptions& options);

/// Adds a warning if the dataset asks for mirrored images and the store cannot give any as it asks.
void warn_of_flips(Dataset& dataset, const PrepareOptions& options);

/// XXH3 of what a row is made from: the image's file, and behind it that of the latents that the
/// example brings along, if any.
uint64_t content_hash(const Dataset& dataset, const Example& example, std::string_view encoded);

/// An example's latents as a store keeps them: f16, (C, h, w) of the bucket's size. Throws
/// DataError if the file has been damaged or changed.
at::Tensor read_ready_latents(const Dataset& dataset, const Example& example);

}  // namespace kessoku::data
