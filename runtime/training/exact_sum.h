#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>
#include <span>

#include "runtime/training/partition.h"

namespace kessoku::runtime {

/// A sum of f64 numbers that are not negative, as a fixed-point number of 288 bits: integers may
/// be added in any order, so neither threads nor ranks change a bit of it. Numbers below 2⁻¹⁶⁰ and
/// bits below that are dropped; 2⁹⁶ and above, infinities and NaN make the sum infinite.
/// Squares of gradients that sum to a finite number thus fit into AdamW's fp32 moments, too.
class ExactSum {
 public:
  /// As int64 that ranks add up: limbs of 32 bits from the lowest on, the last counts what was too
  /// large. Up to 2³⁰ ranks' sums fit.
  static constexpr size_t kWords = 10;

  ExactSum() = default;
  /// From the sum of several `words`.
  explicit ExactSum(std::span<const int64_t, kWords> words);

  void add(double value);
  void add(const ExactSum& other);
  /// With limbs below 2³².
  std::array<int64_t, kWords> words() const;
  /// Rounded to f64.
  double value() const;

 private:
  static constexpr int kLowest = -160;  ///< weight of the lowest bit
  static constexpr size_t kLimbs = kWords - 1;
  void carry();

  std::array<int64_t, kWords> words_{};
  int64_t added_ = 0;  ///< since the last carry
};

/// Squares of f32 numbers, which begin at a multiple of Partition::kAlignment: summed in f64 over
/// each aligned block of so many, then exactly; on a GPU in f32 over a block, which moves a quarter
/// of the bytes. The same bits however they are cut.
class SquareSum {
 public:
  void add(const at::Tensor& values);  ///< 1-d
  /// The blocks' sums where they still are on a GPU, f64; else empty.
  at::Tensor of_blocks() const;
  /// `of_blocks`: brought to the host.
  ExactSum total(const at::Tensor& of_blocks) const;

 private:
  ExactSum total_;
  std::vector<at::Tensor> of_blocks_;  ///< on a GPU
};

}  // namespace kessoku::runtime
