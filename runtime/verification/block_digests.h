#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace kessoku::runtime {

/// Elements that share a digest.
inline constexpr int64_t kDigestBlock = 1024;

/// One digest for each block of 1,024 elements of `values` (1-d, contiguous; the last block may be
/// shorter): (blocks) int64, on the same device. On a CPU the XXH3 of the block's bytes; elsewhere,
/// where memory is faster than the way to the host, the sum of its elements as integers, which a
/// flipped bit changes, too.
at::Tensor block_digests(const at::Tensor& values);

/// XXH3 of all block digests of `values` (contiguous).
uint64_t digest_of(const at::Tensor& values);

}  // namespace kessoku::runtime
