#include "runtime/trainer.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/dot.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/sum.h>
#include <ATen/ops/zeros.h>

#include <chrono>
#include <cmath>

#include "base/error.h"

namespace kessoku::runtime {

namespace {

using metrics::Phase;

/// Adds the time since the last lap to a phase.
class PhaseClock {
 public:
  explicit PhaseClock(metrics::StepRecord& record) : record_(record) {}
  void lap(Phase phase) {
    const auto now = Clock::now();
    record_.phase_seconds[static_cast<size_t>(phase)] +=
        std::chrono::duration<double>(now - last_).count();
    last_ = now;
  }
  double total() const { return std::chrono::duration<double>(last_ - start_).count(); }

 private:
  using Clock = std::chrono::steady_clock;
  metrics::StepRecord& record_;
  Clock::time_point start_ = Clock::now();
  Clock::time_point last_ = start_;
};

// Places in the vector of scalars that all ranks sum once a step; the draw counts follow.
enum Scalar { kLoss, kSquares, kStop, kCheckpoint, kScalars };

}  // namespace

BatchSplit split_batch(uint64_t global_batch, uint64_t at_most, int ranks) {
  if (global_batch % static_cast<uint64_t>(ranks) != 0) {
    throw UsageError(fmt::format(
        "train.global_batch = {} does not divide over {} ranks: choose a multiple of {}",
        global_batch, ranks, ranks));
  }
  const uint64_t local = global_batch / static_cast<uint64_t>(ranks);
  uint64_t micro = std::min(at_most, local);
  while (local % micro != 0) --micro;
  return {micro, local / micro};
}

Trainer::Trainer(const RunConfig& config, const model::Parameters& parameters, Objective& objective,
                 DrawCounter counter, Audit audit, Communicator& communicator)
    : config_(config),
      objective_(objective),
      counter_(std::move(counter)),
      audit_(std::move(audit)),
      communicator_(communicator),
      split_(split_batch(config.train.global_batch, config.train.micro_batch, communicator.size())),
      flat_(parameters, config.optimizer.shard ? communicator.size() : 1),
      optimizer_(flat_, config.optimizer,
                 config.optimizer.shard ? communicator.rank() * flat_.part_numel() : 0,
                 config.optimizer.shard ? (communicator.rank() + 1) * flat_.part_numel()
                                        : flat_.part_numel()) {
  if (config.ema.decay > 0) ema_ = own_part(flat_.values()).clone();
}

metrics::StepRecord Trainer::step(data::Loader& loader, Wishes& wishes) {
  metrics::StepRecord record;
  PhaseClock clock(record);
  const double draws = static_cast<double>(config_.train.global_batch);
  at::Tensor scalars = at::zeros({kScalars + static_cast<int64_t>(counter_.size())}, at::kDouble);
  double* scalar = scalars.data_ptr<double>();

  flat_.gradients().zero_();
  for (uint64_t micro = 0; micro < split_.accumulation; ++micro) {
    const data::Batch batch = loader.next();
    clock.lap(Phase::kData);
    const at::Tensor losses = objective_.losses(batch);
    const at::Tensor loss = losses.sum() / draws;
    scalar[kLoss] += loss.item<double>();
    counter_.add(batch.draws, scalar + kScalars);
    audit_.add(batch, losses);
    clock.lap(Phase::kForward);
    loss.backward();
    clock.lap(Phase::kBackward);
  }

  audit_.finish_step();

  reduce_gradients();
  const at::Tensor own = own_part(flat_.gradients());
  // Unsharded, every rank holds all gradients: each adds its share of the same sum.
  scalar[kSquares] =
      at::dot(own, own).item<double>() / (config_.optimizer.shard ? 1 : communicator_.size());
  scalar[kStop] = wishes.stop;
  scalar[kCheckpoint] = wishes.checkpoint;
  communicator_.all_reduce(scalars)->wait();
  wishes = {scalar[kStop] > 0, scalar[kCheckpoint] > 0};
  const double norm = std::sqrt(scalar[kSquares]);
  clock.lap(Phase::kCommunication);
  if (!std::isfinite(scalar[kLoss]) || !std::isfinite(norm)) {
    throw UsageError(fmt::format(
        "training diverged at step {} (loss {}, gradient norm {}): lower optimizer.lr or set "
        "optimizer.grad_clip",
        steps_done() + 1, scalar[kLoss], norm));
  }

  clip(norm);
  const double factor = schedule_factor(config_.optimizer, steps_done(), config_.train.steps);
  optimizer_.step(factor);
  average();
  clock.lap(Phase::kOptimizer);
  gather_values();
  clock.lap(Phase::kCommunication);

  record.step = steps_done();
  record.draws = record.step * config_.train.global_batch;
  record.loss = scalar[kLoss];
  record.grad_norm = norm;
  record.lr = config_.optimizer.lr * factor;
  record.seconds = clock.total();
  record.samples_per_second = draws / record.seconds;
  record.category_draws = counter_.named(scalar + kScalars);
  return record;
}

at::Tensor Trainer::own_part(const at::Tensor& flat) const {
  return flat.narrow(0, optimizer_.begin(), optimizer_.end() - optimizer_.begin());
}

void Trainer::reduce_gradients() {
  if (communicator_.size() == 1) return;
  at::Tensor gradients = flat_.gradients();
  if (!config_.optimizer.shard) {
    communicator_.all_reduce(gradients)->wait();
    return;
  }
  at::Tensor own = own_part(gradients);
  communicator_.reduce_scatter(gradients, own)->wait();
}

void Trainer::clip(double norm) {
  // As torch.nn.utils.clip_grad_norm_, its 1e-6 included.
  const double limit = config_.optimizer.grad_clip;
  if (limit > 0 && limit / (norm + 1e-6) < 1)
    own_part(flat_.gradients()).mul_(limit / (norm + 1e-6));
}

void Trainer::average() {
  if (!ema_.defined()) return;
  // Early averages would otherwise be mostly the first weights; the ramp is the usual (1 + n) / (10
  // + n).
  const double steps = static_cast<double>(steps_done());
  const double decay = std::min(config_.ema.decay, (1 + steps) / (10 + steps));
  ema_.lerp_(own_part(flat_.values()), 1 - decay);
}

void Trainer::gather_values() {
  if (communicator_.size() == 1 || !config_.optimizer.shard) return;
  at::Tensor values = flat_.values();
  communicator_.all_gather(own_part(values), values)->wait();
}

at::Tensor Trainer::published_values() {
  if (!ema_.defined()) return flat_.values();
  if (!config_.optimizer.shard) return ema_;
  at::Tensor whole = at::empty_like(flat_.values());
  communicator_.all_gather(ema_, whole)->wait();
  return whole;
}

BorrowedWeights::BorrowedWeights(FlatParameters& flat, const at::Tensor& values) : flat_(flat) {
  const at::NoGradGuard no_grad;
  if (values.is_same(flat.values())) return;
  own_ = flat.values().clone();
  at::Tensor(flat.values()).copy_(values);
}

BorrowedWeights::~BorrowedWeights() {
  const at::NoGradGuard no_grad;
  if (own_.defined()) at::Tensor(flat_.values()).copy_(own_);
}

}  // namespace kessoku::runtime
