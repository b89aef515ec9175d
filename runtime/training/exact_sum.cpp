#include "runtime/training/exact_sum.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <mutex>

namespace kessoku::runtime {

namespace {

constexpr int64_t kBlock = Partition::kAlignment;

// Vectors of GCC and Clang, which any processor carries out in pieces of its own width.
using Floats = float __attribute__((vector_size(8 * sizeof(float))));
using Doubles = double __attribute__((vector_size(8 * sizeof(double))));

/// Eight sums side by side, which are added in a fixed order.
double block_squares(const float* values, int64_t numel) {
  Doubles sums{};
  int64_t i = 0;
  for (; i + 8 <= numel; i += 8) {
    Floats part;
    std::memcpy(&part, values + i, sizeof(part));
    const Doubles wide = __builtin_convertvector(part, Doubles);
    sums += wide * wide;
  }
  for (; i < numel; ++i) {
    const auto value = static_cast<double>(values[i]);
    sums[0] += value * value;
  }
  return ((sums[0] + sums[4]) + (sums[2] + sums[6])) + ((sums[1] + sums[5]) + (sums[3] + sums[7]));
}

ExactSum squares_on_host(const float* values, int64_t numel) {
  const int64_t blocks = (numel + kBlock - 1) / kBlock;
  ExactSum total;
  std::mutex mutex;
  at::parallel_for(0, blocks, /*grain_size=*/64, [&](int64_t begin, int64_t end) {
    ExactSum own;
    for (int64_t block = begin; block < end; ++block) {
      const int64_t first = block * kBlock;
      own.add(block_squares(values + first, std::min(kBlock, numel - first)));
    }
    const std::lock_guard lock(mutex);
    total.add(own);
  });
  return total;
}

/// By element-wise kernels only: how a device's own sums are ordered may depend on their number.
at::Tensor squares_of_blocks(const at::Tensor& values) {
  const at::Tensor blocks = values.reshape({-1, kBlock});
  int64_t width = kBlock / 2;
  const at::Tensor low = blocks.narrow(1, 0, width), high = blocks.narrow(1, width, width);
  at::Tensor sums = (low * low).addcmul_(high, high);
  for (width /= 2; width > 0; width /= 2)
    sums = sums.narrow(1, 0, width) + sums.narrow(1, width, width);
  return sums.flatten().to(at::kDouble);
}

}  // namespace

ExactSum::ExactSum(std::span<const int64_t, kWords> words) {
  std::ranges::copy(words, words_.begin());
  carry();
}

void ExactSum::add(double value) {
  if (!(value < 0x1p96)) {
    ++words_[kLimbs];
    return;
  }
  int exponent = 0;
  // value = mantissa · 2^(exponent − 53)
  auto mantissa = static_cast<uint64_t>(std::ldexp(std::frexp(value, &exponent), 53));
  int position = exponent - 53 - kLowest;  // of the mantissa's lowest bit
  if (position < 0) {
    mantissa = position > -64 ? mantissa >> -position : 0;
    position = 0;
  }
  const auto limb = static_cast<size_t>(position / 32);
  const auto shifted = static_cast<unsigned __int128>(mantissa) << (position % 32);
  for (size_t i = 0; i < 3 && limb + i < kLimbs; ++i)
    words_[limb + i] += static_cast<int64_t>(static_cast<uint32_t>(shifted >> (32 * i)));
  if (++added_ == int64_t{1} << 30) carry();
}

void ExactSum::add(const ExactSum& other) {
  const std::array<int64_t, kWords> others = other.words();
  carry();
  for (size_t i = 0; i < kWords; ++i) words_[i] += others[i];
  carry();
}

void ExactSum::carry() {
  added_ = 0;
  for (size_t i = 0; i + 1 < kLimbs; ++i) {
    words_[i + 1] += words_[i] >> 32;
    words_[i] &= 0xffffffff;
  }
}

std::array<int64_t, ExactSum::kWords> ExactSum::words() const {
  ExactSum normal = *this;
  normal.carry();
  return normal.words_;
}

double ExactSum::value() const {
  const std::array<int64_t, kWords> limbs = words();
  if (limbs[kLimbs] != 0) return std::numeric_limits<double>::infinity();
  double value = 0;
  for (size_t i = kLimbs; i-- > 0;)
    value += std::ldexp(static_cast<double>(limbs[i]), kLowest + 32 * static_cast<int>(i));
  return value;
}

void SquareSum::add(const at::Tensor& values) {
  if (values.is_cpu()) {
    total_.add(squares_on_host(values.const_data_ptr<float>(), values.numel()));
  } else {
    of_blocks_.push_back(squares_of_blocks(values));
  }
}

at::Tensor SquareSum::of_blocks() const {
  return of_blocks_.empty() ? at::empty({0}, at::kDouble) : at::cat(of_blocks_);
}

ExactSum SquareSum::total(const at::Tensor& of_blocks) const {
  ExactSum total = total_;
  const double* sum = of_blocks.const_data_ptr<double>();
  for (int64_t i = 0; i < of_blocks.numel(); ++i) total.add(sum[i]);
  return total;
}

}  // namespace kessoku::runtime
