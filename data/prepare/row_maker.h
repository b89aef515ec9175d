#pragma once

#include <ATen/core/Tensor.h>

#include "data/prepare/row_plan.h"

namespace kessoku::data {

/// What goes into a row.
struct MadeRow {
  Provenance provenance{};
  std::vector<Variant> variants{};
  std::vector<std::map<Kind, at::Tensor>> tensors{};  ///< by variant; as Store::read gives them
  std::string warning{};                              ///< empty if all was well
};

/// Makes rows out of image files, one image at a time: what a row is depends on nothing else. Safe
/// for concurrent use.
class RowMaker {
 public:
  RowMaker(const Dataset& dataset, const PrepareOptions& options)
      : dataset_(dataset), options_(options) {}

  /// Nothing if the image is bad. Throws DataError if it has changed since the plan was made, or
  /// for numbers beyond half precision.
  std::optional<MadeRow> make(const Planned& row) const;
  /// Why `make` finds it bad. Call when nothing else decodes.
  Skipped explain(const Planned& row) const;

 private:
  at::Tensor encode(const at::Tensor& pixels, const std::string& source) const;
  std::optional<at::Tensor> ready_latents(const Example& example, std::string& warning) const;

  const Dataset& dataset_;
  const PrepareOptions& options_;
};

}  // namespace kessoku::data
