#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/core/dispatch/Dispatcher.h>

#include <vector>

namespace kessoku::stand_ins {

/// Tensors of the GPU, and the same memory as tensors of the CPU at its kernels' address, for the
/// time of one operator.
class Aliases {
 public:
  explicit Aliases(const c10::OperatorHandle& op);

  /// Replace what an operator is given, and what it returns.
  c10::IValue to_host(const c10::IValue& value);
  c10::IValue to_device(const c10::IValue& value) const;

  /// As kernels of a GPU would: tensors of other devices than the first one's.
  void refuse_mixtures();

  /// After the operator: what was given as output may have got another size.
  void update() const;

 private:
  at::Tensor host(const at::Tensor& tensor);
  at::Tensor device(const at::Tensor& result) const;

  struct Pair {
    at::Tensor device, host;
    c10::Storage before;
  };
  const c10::OperatorHandle& op_;
  std::vector<Pair> pairs_;
  std::vector<at::Tensor> on_cpu_;
  int of_cpu_ = 0;
  c10::Device device_;
};

}  // namespace kessoku::stand_ins
