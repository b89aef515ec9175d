#include "data/loading/slab_pool.h"

#include <ATen/ops/empty.h>

#include <algorithm>

namespace kessoku::data {

at::Tensor SlabPool::take(at::IntArrayRef sizes, at::ScalarType dtype) {
  const std::lock_guard lock(mutex_);
  // A view or autograd may hold the memory longer than the tensor.
  const auto free = [](const at::Tensor& slab) { return slab.storage().use_count() == 1; };
  const auto fits = [&](const at::Tensor& slab) {
    return slab.scalar_type() == dtype && slab.sizes() == sizes && free(slab);
  };
  const auto found = std::ranges::find_if(slabs_, fits);
  if (found != slabs_.end()) return found->alias();
  // Shapes that come no more give way.
  constexpr size_t kMost = 64;
  if (slabs_.size() >= kMost) std::erase_if(slabs_, free);
  slabs_.push_back(at::empty(sizes, at::TensorOptions(dtype).pinned_memory(pinned_)));
  return slabs_.back().alias();
}

}  // namespace kessoku::data
