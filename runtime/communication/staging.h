#pragma once

#include <ATen/core/Tensor.h>

namespace kessoku::runtime {

/// Memory for the messages of exchanges that follow one another: kept, as fresh pages cost as much
/// as the exchange, and bounded, as an exchange that needs more is carried out in chunks.
class Staging {
 public:
  /// Holds a bucket of the usual size (see communication.bucket_mb) at once.
  static constexpr size_t kLimit = size_t{64} << 20;  ///< bytes

  explicit Staging(size_t limit = kLimit) : limit_(limit) {}
  size_t limit() const { return limit_; }

  /// Begins anew: `numel` elements as `options` say will be taken. What was taken before may be
  /// written over by what is asked for from now on.
  void reserve(int64_t numel, const at::TensorOptions& options);
  at::Tensor take(int64_t numel);
  /// All of it; an exchange on a stream must keep it alive until it is done.
  const at::Tensor& memory() const { return memory_; }

 private:
  size_t limit_;
  at::Tensor memory_;
  int64_t taken_ = 0;
};

}  // namespace kessoku::runtime
