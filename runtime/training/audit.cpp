#include "runtime/training/audit.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/stack.h>

#include "model/weights/safetensors.h"

namespace kessoku::runtime {

Audit::Audit(std::filesystem::path run, uint64_t batches, Communicator& communicator)
    : run_(std::move(run)), batches_(batches), communicator_(communicator) {}

at::Tensor Audit::gather(const at::Tensor& own) {
  std::vector<int64_t> shape = own.sizes().vec();
  shape.insert(shape.begin(), communicator_.size());
  at::Tensor whole = at::empty(shape, own.options());
  communicator_.all_gather(own.contiguous(), whole)->wait();
  return whole;
}

void Audit::add(const data::Batch& batch, const at::Tensor& losses) {
  if (batch.step >= batches_) return;
  step_ = batch.step + 1;
  model::Parameters tensors;
  const model::Parameters held{{"images", batch.images},         {"masks", batch.masks},
                               {"latents", batch.latents},       {"noise", batch.noise},
                               {"timesteps", batch.timesteps},   {"input_ids", batch.input_ids},
                               {"loss_scale", batch.loss_scale}, {"loss", losses.detach().cpu()}};
  for (const auto& [name, tensor] : held) {
    if (tensor.defined()) tensors.push_back({name, gather(tensor)});
  }
  micro_batches_.push_back(std::move(tensors));
}

void Audit::finish_step() {
  if (micro_batches_.empty()) return;
  if (communicator_.rank() == 0) {
    model::Parameters whole;
    for (size_t i = 0; i < micro_batches_[0].size(); ++i) {
      std::vector<at::Tensor> parts;
      for (const model::Parameters& micro : micro_batches_) parts.push_back(micro[i].tensor);
      // (ranks, micro-batches, B, …): a rank's micro-batches follow each other.
      whole.push_back({micro_batches_[0][i].name, at::stack(parts, 1).flatten(0, 2)});
    }
    std::filesystem::create_directories(run_ / "audit");
    model::write_safetensors(run_ / "audit" / fmt::format("step-{:08}.safetensors", step_), whole);
  }
  micro_batches_.clear();
}

}  // namespace kessoku::runtime
