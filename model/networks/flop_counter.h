#pragma once

#include <ATen/core/ivalue.h>
#include <ATen/record_function.h>

#include <cstdint>
#include <optional>
#include <string_view>

namespace kessoku::model {

/// Floating-point operations of an operator of LibTorch on `inputs`: a matrix product, convolution
/// or attention, forward or backward. Nothing for others.
std::optional<int64_t> operator_flops(std::string_view name,
                                      c10::ArrayRef<const c10::IValue> inputs);

/// While it lives it counts the floating-point operations of the matrix products, convolutions and
/// attention that this thread, and autograd for it, start: two for a multiplication with an
/// addition, as torch.utils.flop_counter has it. Not to be nested.
class FlopCounter {
 public:
  FlopCounter();
  FlopCounter(const FlopCounter&) = delete;
  FlopCounter& operator=(const FlopCounter&) = delete;
  ~FlopCounter();

  int64_t count() const;
  /// For what is not done by LibTorch's operators: counts as one of them would.
  static void add(int64_t operations);

  /// While it lives the thread's operations are not counted: they repeat others.
  class Pause {
   public:
    Pause();
    Pause(const Pause&) = delete;
    Pause& operator=(const Pause&) = delete;
    ~Pause();
  };

 private:
  at::CallbackHandle callback_;
};

}  // namespace kessoku::model
