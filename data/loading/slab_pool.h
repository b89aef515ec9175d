#pragma once

#include <ATen/core/Tensor.h>

#include <mutex>
#include <vector>

namespace kessoku::data {

/// Host memory that is used again once nobody holds a tensor of it: fresh pages for each batch cost
/// as much as reading it. Safe for concurrent use.
class SlabPool {
 public:
  /// `pinned`: page-locked, so that copies to a GPU overlap with work; needs a GPU.
  explicit SlabPool(bool pinned = false) : pinned_(pinned) {}

  /// Uninitialized, contiguous.
  at::Tensor take(at::IntArrayRef sizes, at::ScalarType dtype);

 private:
  bool pinned_;
  std::mutex mutex_;
  std::vector<at::Tensor> slabs_;
};

}  // namespace kessoku::data
