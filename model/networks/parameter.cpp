#include "model/networks/parameter.h"

#include <c10/core/GradMode.h>

namespace kessoku::model {

int64_t count_elements(const Parameters& parameters) {
  int64_t total = 0;
  for (const Parameter& parameter : parameters) total += parameter.tensor.numel();
  return total;
}

void move_parameters(const Parameters& parameters, at::Device device) {
  const c10::NoGradGuard no_grad;
  for (const Parameter& parameter : parameters) {
    parameter.tensor.set_data(parameter.tensor.to(device));
  }
}

void convert_parameters(const Parameters& parameters, at::ScalarType dtype) {
  const c10::NoGradGuard no_grad;
  for (const Parameter& parameter : parameters) {
    parameter.tensor.set_data(parameter.tensor.to(dtype));
  }
}

}  // namespace kessoku::model
