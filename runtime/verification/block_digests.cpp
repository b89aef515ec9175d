#include "runtime/verification/block_digests.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/sum.h>

#include <algorithm>
#include <stdexcept>

#include "base/checksum.h"

namespace kessoku::runtime {

namespace {

std::span<const std::byte> bytes_of(const at::Tensor& values) {
  return {static_cast<const std::byte*>(values.const_data_ptr()), values.nbytes()};
}

at::ScalarType integer_of(int64_t bytes) {
  switch (bytes) {
    case 2:
      return at::kShort;
    case 4:
      return at::kInt;
    case 8:
      return at::kLong;
    default:
      throw std::logic_error("digests are of elements of 2, 4 or 8 bytes");
  }
}

at::Tensor hashed_blocks(const at::Tensor& values) {
  const int64_t blocks = (values.numel() + kDigestBlock - 1) / kDigestBlock;
  at::Tensor digests = at::empty({blocks}, at::kLong);
  const std::span<const std::byte> bytes = bytes_of(values);
  const size_t size = static_cast<size_t>(kDigestBlock * values.element_size());
  auto* out = digests.mutable_data_ptr<int64_t>();
  at::parallel_for(0, blocks, /*grain_size=*/1024, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const size_t first = static_cast<size_t>(i) * size;
      out[i] = static_cast<int64_t>(
          checksum(bytes.subspan(first, std::min(size, bytes.size() - first))));
    }
  });
  return digests;
}

/// LibTorch widens integers before it sums them: of so many blocks at a time, 64 MiB.
constexpr int64_t kSummedBlocks = 8192;

at::Tensor summed_blocks(const at::Tensor& values) {
  const int64_t whole = values.numel() / kDigestBlock * kDigestBlock;
  const int64_t rest = values.numel() - whole;
  const at::Tensor integers = values.view(integer_of(values.element_size()));
  at::Tensor digests = at::empty({(values.numel() + kDigestBlock - 1) / kDigestBlock},
                                 integers.options().dtype(at::kLong));
  const int64_t blocks = whole / kDigestBlock;
  for (int64_t first = 0; first < blocks; first += kSummedBlocks) {
    const int64_t count = std::min(kSummedBlocks, blocks - first);
    digests.narrow(0, first, count)
        .copy_(at::sum(integers.narrow(0, first * kDigestBlock, count * kDigestBlock)
                           .view({count, kDigestBlock}),
                       {1}, /*keepdim=*/false, at::kLong));
  }
  if (rest > 0) digests[blocks].copy_(at::sum(integers.narrow(0, whole, rest), at::kLong));
  return digests;
}

}  // namespace

at::Tensor block_digests(const at::Tensor& values) {
  if (!values.is_contiguous() || values.dim() != 1)
    throw std::logic_error("block digests are of contiguous 1-d tensors");
  return values.is_cpu() ? hashed_blocks(values) : summed_blocks(values);
}

uint64_t digest_of(const at::Tensor& values) {
  if (!values.is_contiguous()) throw std::logic_error("digests are of contiguous tensors");
  const at::Tensor digests = block_digests(values.view({-1})).cpu();
  return checksum(bytes_of(digests));
}

}  // namespace kessoku::runtime
