#include "runtime/snapshot.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>

namespace kessoku::runtime {

namespace {

/// Copies into `held`, made anew if it does not fit.
void copy_into(at::Tensor& held, const at::Tensor& source, at::ScalarType dtype) {
  if (!held.defined() || held.sizes() != source.sizes() || held.scalar_type() != dtype)
    held = at::empty(source.sizes(), at::TensorOptions(dtype));
  held.copy_(source);
}

}  // namespace

void Snapshot::take(Trainer& trainer, bool with_weights, at::ScalarType dtype) {
  const at::NoGradGuard no_grad;
  AdamW& optimizer = trainer.optimizer();
  step_ = trainer.steps_done();
  scaler_ = trainer.scaler();
  ranges_ = optimizer.owned();
  model::Parameters sources{{"exp_avg", optimizer.exp_avg()},
                            {"exp_avg_sq", optimizer.exp_avg_sq()}};
  if (trainer.ema().defined()) sources.push_back({"ema", trainer.ema()});
  state_.resize(sources.size() + 1);
  for (size_t i = 0; i < sources.size(); ++i) {
    state_[i].name = sources[i].name;
    copy_into(state_[i].tensor, sources[i].tensor, at::kFloat);
  }
  state_.back().name = "parameters";
  at::Tensor& own = state_.back().tensor;
  if (!own.defined()) own = at::empty({total_size(ranges_)}, at::kFloat);
  for (size_t i = 0; i < ranges_.size(); ++i) {
    const Range range = optimizer.own_range(i);
    own.narrow(0, range.begin, range.size()).copy_(optimizer.weights(i));
  }
  const at::Tensor published = trainer.published_values();
  if (!with_weights) return;
  copy_into(flat_weights_, published, dtype);
  weights_ = trainer.flat().views_of(flat_weights_);
}

void Snapshot::borrow(Trainer& trainer, bool with_weights) {
  const at::NoGradGuard no_grad;
  AdamW& optimizer = trainer.optimizer();
  step_ = trainer.steps_done();
  scaler_ = trainer.scaler();
  ranges_ = optimizer.owned();
  borrowed_ = true;
  const at::Tensor& values = trainer.flat().values();
  const bool whole = values.scalar_type() == at::kFloat && total_size(ranges_) == values.numel();
  state_ = {{"exp_avg", optimizer.exp_avg()},
            {"exp_avg_sq", optimizer.exp_avg_sq()},
            {"parameters", whole ? values : optimizer.own_weights()}};
  if (trainer.ema().defined()) state_.push_back({"ema", trainer.ema()});
  const at::Tensor published = trainer.published_values();
  if (with_weights) weights_ = trainer.flat().views_of(published);
}

void Snapshot::release() {
  if (!borrowed_) return;
  borrowed_ = false;
  state_.clear();
  weights_.clear();
}

uint64_t snapshot_bytes(Trainer& trainer, bool with_weights, at::ScalarType dtype) {
  const auto own = static_cast<uint64_t>(total_size(trainer.optimizer().owned()));
  const auto all = static_cast<uint64_t>(trainer.flat().values().numel());
  const uint64_t state = own * sizeof(float) * (trainer.ema().defined() ? 4 : 3);
  return state + (with_weights ? all * c10::elementSize(dtype) : 0);
}

}  // namespace kessoku::runtime
