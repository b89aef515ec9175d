#include "runtime/training/validation.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/zeros.h>

#include <numeric>

#include "runtime/host/device.h"

namespace kessoku::runtime {

double validation_loss(const data::ValidationSet& set, Objective& objective, Trainer& trainer,
                       Communicator& communicator) {
  const at::NoGradGuard no_grad;
  const at::Device device = trainer.flat().values().device();
  // Only one rank has a draw: its loss, added to zeros, reaches all; they are summed in one order.
  at::Tensor losses = at::zeros({static_cast<int64_t>(set.draws())}, at::kDouble);
  trainer.with_published([&] {
    for (size_t i = 0; i < set.batches(); ++i) {
      const at::Tensor own =
          objective.losses(on_device(set.batch(i), device)).to(at::kCPU, at::kDouble);
      losses.narrow(0, static_cast<int64_t>(set.first_draw(i)), own.numel()).copy_(own);
    }
  });
  communicator.all_reduce(losses)->wait();
  const double* loss = losses.const_data_ptr<double>();
  return std::accumulate(loss, loss + losses.numel(), 0.0) / static_cast<double>(set.draws());
}

}  // namespace kessoku::runtime
