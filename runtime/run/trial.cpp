#include "runtime/run/trial.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/sum.h>
#include <ATen/ops/zeros.h>

#include <cmath>

#include "runtime/host/device.h"
#include "runtime/training/diverged.h"

namespace kessoku::runtime {

namespace {

/// Of a batch that cannot be read nothing is known: the run has no need of it.
std::optional<data::Batch> next_batch(data::Loader& loader) {
  try {
    return loader.next();
  } catch (const Error&) {
    return std::nullopt;
  }
}

}  // namespace

void try_weights(data::Loader& loader, Objective& objective, Trainer& trainer,
                 Communicator& communicator) {
  const at::NoGradGuard no_grad;
  at::Tensor sum = at::zeros({1}, at::kDouble);
  trainer.finish_step();
  if (const std::optional<data::Batch> batch = next_batch(loader)) {
    const at::Device device = trainer.flat().values().device();
    sum += objective.losses(on_device(*batch, device)).sum(at::kDouble).cpu();
  }
  communicator.all_reduce(sum)->wait();
  if (std::isfinite(sum.item<double>())) return;
  throw Diverged(fmt::format("training diverged with step {} (the weights give a loss of {})",
                             trainer.steps_done(), sum.item<double>()));
}

}  // namespace kessoku::runtime
