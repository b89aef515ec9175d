#include "runtime/training/trainer.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/dot.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/sum.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <chrono>
#include <cmath>
#include <ranges>

#include "base/error.h"
#include "runtime/host/device.h"
#include "runtime/training/lr_schedule.h"

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
  /// `seconds` that were counted as one phase were another.
  void move(Phase from, Phase to, double seconds) {
    record_.phase_seconds[static_cast<size_t>(from)] -= seconds;
    record_.phase_seconds[static_cast<size_t>(to)] += seconds;
  }
  double total() const { return std::chrono::duration<double>(last_ - start_).count(); }

 private:
  using Clock = std::chrono::steady_clock;
  metrics::StepRecord& record_;
  Clock::time_point start_ = Clock::now();
  Clock::time_point last_ = start_;
};

// Places in the vector of scalars that all ranks sum once a step; the draw counts follow.
enum Scalar { kLoss, kSquares, kStop, kCheckpoint, kUnfinished, kFailed, kReplaced, kScalars };

/// As torch.nn.utils.clip_grad_norm_, its 1e-6 included. `limit` 0 = off.
double clip_factor(double limit, double norm) {
  return limit > 0 ? std::min(1.0, limit / (norm + 1e-6)) : 1;
}

ReducerOptions reducer_options(const RunConfig& config) {
  return {config.optimizer.shard, config.communication.overlap,
          config.communication.wire == "bf16" ? Wire::kBFloat16 : Wire::kFloat32};
}

}  // namespace

at::ScalarType dtype_of(const RunConfig& config) {
  if (config.train.precision == "bf16") return at::kBFloat16;
  return config.train.precision == "fp16" ? at::kHalf : at::kFloat;
}

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

int64_t bucket_numel(const RunConfig& config) {
  return static_cast<int64_t>(config.communication.bucket_mb * (1 << 20) / sizeof(float));
}

Trainer::Trainer(const RunConfig& config, const model::Parameters& parameters, Objective& objective,
                 DrawCounter counter, Audit audit, Communicator& communicator)
    : config_(config),
      objective_(objective),
      counter_(std::move(counter)),
      audit_(std::move(audit)),
      communicator_(communicator),
      device_(parameters.front().tensor.device()),
      split_(split_batch(config.train.global_batch, config.train.micro_batch, communicator.size())),
      partition_(flat_numel(flat_layout(parameters)), bucket_numel(config), communicator.size()),
      flat_(parameters, partition_.numel()),
      optimizer_(
          flat_, config.optimizer,
          partition_.owned_by(config.optimizer.shard ? communicator.rank() : Partition::kEverybody),
          dtype_of(config) != at::kFloat),
      reducer_(flat_, partition_, reducer_options(config), communicator),
      gathers_(flat_, partition_, communicator),
      scaler_(dtype_of(config) == at::kHalf) {
  if (config.ema.decay > 0) ema_ = optimizer_.own_weights();
  flat_.round_to(dtype_of(config));
  objective_.set_before_use([this](auto used) { gathers_.await(used); });
}

Trainer::~Trainer() { objective_.set_before_use({}); }

metrics::StepRecord Trainer::step(data::Loader& loader, Wishes& wishes) {
  metrics::StepRecord record;
  PhaseClock clock(record);
  const double draws = static_cast<double>(config_.train.global_batch);
  at::Tensor scalars = at::zeros({kScalars + static_cast<int64_t>(counter_.size())}, at::kDouble);
  double* scalar = scalars.data_ptr<double>();

  gathers_.take_waited_seconds();  // between steps, for a checkpoint
  at::Tensor(flat_.gradients()).zero_();
  clock.lap(Phase::kOptimizer);
  for (uint64_t micro = 0; micro < split_.accumulation; ++micro) {
    const data::Batch read = loader.next();
    clock.lap(Phase::kData);
    if (!config_.communication.overlap) finish_step();
    const data::Batch batch = on_device(read, device_);
    const at::Tensor losses = objective_.losses(batch) * batch.loss_scale;
    const at::Tensor loss = losses.sum() / draws;
    scalar[kLoss] += loss.item<double>();
    counter_.add(batch.draws, scalar + kScalars);
    scalar[kReplaced] += batch.replaced;
    audit_.add(read, losses);
    finish_step();  // with weights that this forward did not use
    clock.lap(Phase::kForward);
    clock.move(Phase::kForward, Phase::kCommunication, gathers_.take_waited_seconds());
    reducer_.prepare(micro + 1 == split_.accumulation);
    (loss * scaler_.scale()).backward();
    synchronize(device_);
    clock.lap(Phase::kBackward);
  }
  audit_.finish_step();

  reducer_.finish();
  clock.lap(Phase::kCommunication);
  // Unsharded, every rank holds all gradients: each adds its share of the same sum.
  scalar[kSquares] = own_squares() / (config_.optimizer.shard ? 1 : communicator_.size());
  clock.lap(Phase::kOptimizer);
  scalar[kStop] = wishes.stop;
  scalar[kCheckpoint] = wishes.checkpoint;
  scalar[kUnfinished] = wishes.writer.unfinished;
  scalar[kFailed] = wishes.writer.failed;
  communicator_.all_reduce(scalars)->wait();
  wishes = {scalar[kStop] > 0,
            scalar[kCheckpoint] > 0,
            {static_cast<int>(scalar[kUnfinished]), static_cast<int>(scalar[kFailed])}};
  const double norm = std::sqrt(scalar[kSquares]) / scaler_.scale();
  clock.lap(Phase::kCommunication);
  if (!std::isfinite(scalar[kLoss]) || (!std::isfinite(norm) && !scaler_.may_lower())) {
    throw UsageError(fmt::format(
        "training diverged at step {} (loss {}, gradient norm {}): lower optimizer.lr or set "
        "optimizer.grad_clip",
        steps_done() + 1, scalar[kLoss], norm));
  }

  const double factor = lr_factor(config_.optimizer, steps_done(), config_.train.steps);
  ++steps_done_;
  if (std::isfinite(norm)) {
    optimizer_.begin_step();
    scale_gradients(clip_factor(config_.optimizer.grad_clip, norm) / scaler_.scale());
    update(factor);
  }
  scaler_.update(std::isfinite(norm));
  clock.lap(Phase::kOptimizer);

  record.step = steps_done();
  record.draws = record.step * config_.train.global_batch;
  record.loss = scalar[kLoss];
  record.grad_norm = norm;
  record.lr = config_.optimizer.lr * factor;
  record.seconds = clock.total();
  record.samples_per_second = draws / record.seconds;
  record.bad_rows = static_cast<uint64_t>(scalar[kReplaced]);
  record.category_draws = counter_.named(scalar + kScalars);
  return record;
}

double Trainer::own_squares() const {
  at::Tensor squares = at::zeros({}, flat_.gradients().options().dtype(at::kDouble));
  for (const Range& range : optimizer_.owned()) {
    const at::Tensor own = flat_.gradients().narrow(0, range.begin, range.size());
    squares += at::dot(own, own);
  }
  return squares.item<double>();
}

void Trainer::scale_gradients(double factor) {
  if (factor == 1) return;
  for (const Range& range : optimizer_.owned())
    flat_.gradients().narrow(0, range.begin, range.size()).mul_(factor);
}

void Trainer::update(double factor) {
  const bool sharded = config_.optimizer.shard && communicator_.size() > 1;
  // First what the next forward needs first: where backward was last.
  for (const size_t i : std::views::reverse(reducer_.order())) {
    optimizer_.step(i, factor);
    if (sharded) gathers_.send(i);
    average(i);
  }
}

void Trainer::average(size_t range) {
  if (!ema_.defined()) return;
  // Early averages would otherwise be mostly the first weights; the ramp is that of diffusers'
  // EMAModel.
  const double before = static_cast<double>(steps_done() - 1);
  const double decay = before == 0 ? 0 : std::min(config_.ema.decay, (1 + before) / (10 + before));
  const Range own = optimizer_.own_range(range);
  ema_.narrow(0, own.begin, own.size()).lerp_(optimizer_.weights(range), 1 - decay);
}

bool Trainer::publishes_own() const {
  return !ema_.defined() && flat_.values().scalar_type() == at::kFloat;
}

at::Tensor Trainer::published_values() {
  if (publishes_own()) {
    finish_step();
    return flat_.values();
  }
  at::Tensor whole = at::zeros_like(flat_.gradients());
  visit_published([&](const Range& range, const at::Tensor& values) {
    whole.narrow(0, range.begin, range.size()).copy_(values);
  });
  return whole;
}

void Trainer::visit_published(const std::function<void(const Range&, const at::Tensor&)>& visit) {
  finish_step();
  if (publishes_own()) return visit({0, flat_.values().numel()}, flat_.values());
  const at::Tensor room =
      at::empty({partition_.bucket(0).size()}, flat_.gradients().options().requires_grad(false));
  for (size_t i = 0; i < optimizer_.owned().size(); ++i) {
    const Range bucket = partition_.bucket(i), own = optimizer_.own_range(i);
    at::Tensor whole = room.narrow(0, 0, bucket.size());
    at::Tensor part = whole.narrow(0, optimizer_.owned()[i].begin - bucket.begin, own.size());
    part.copy_(ema_.defined() ? ema_.narrow(0, own.begin, own.size()) : optimizer_.weights(i));
    if (config_.optimizer.shard) communicator_.all_gather(part, whole)->wait();
    visit(bucket, whole);
  }
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
