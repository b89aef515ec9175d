#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <mutex>
#include <vector>

namespace kessoku::data {

/// Where a batch's tensors come from: uninitialised, contiguous. Called by several threads.
using Allocate = std::function<at::Tensor(at::IntArrayRef sizes, at::ScalarType dtype)>;

/// Host memory that is used again once nobody holds a tensor of it: fresh pages for each batch cost
/// as much as reading it. Safe for concurrent use.
class SlabPool {
 public:
  at::Tensor take(at::IntArrayRef sizes, at::ScalarType dtype);

 private:
  std::mutex mutex_;
  std::vector<at::Tensor> slabs_;
};

}  // namespace kessoku::data
