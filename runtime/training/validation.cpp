#include "runtime/training/validation.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/sum.h>
#include <ATen/ops/zeros.h>

#include "runtime/host/device.h"

namespace kessoku::runtime {

double validation_loss(const data::ValidationSet& set, Objective& objective, Trainer& trainer,
                       Communicator& communicator) {
  const at::NoGradGuard no_grad;
  const BorrowedWeights borrowed(trainer.flat(), trainer.published_values());
  const at::Device device = trainer.flat().values().device();
  at::Tensor sum = at::zeros({1}, at::kDouble);
  for (size_t i = 0; i < set.batches(); ++i)
    sum += objective.losses(on_device(set.batch(i), device)).sum(at::kDouble).cpu();
  communicator.all_reduce(sum)->wait();
  return sum.item<double>() / static_cast<double>(set.draws());
}

}  // namespace kessoku::runtime
