#include "runtime/training/trainer.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/sum.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <bit>
#include <chrono>
#include <cmath>
#include <cstring>
#include <ranges>

#include "base/error.h"
#include "model/networks/flop_counter.h"
#include "runtime/host/device.h"
#include "runtime/host/step_trace.h"
#include "runtime/training/diverged.h"
#include "runtime/training/lr_schedule.h"
#include "runtime/training/reproducibility.h"
#include "runtime/verification/block_digests.h"

namespace kessoku::runtime {

namespace {

using metrics::Phase;

/// Counts a step's time by phases.
class PhaseClock {
 public:
  PhaseClock(metrics::StepRecord& record, DeviceClock& clock) : record_(record), clock_(clock) {
    clock_.begin();
  }
  void lap(Phase phase) { clock_.lap(static_cast<size_t>(phase)); }
  /// Puts down what has ended; a GPU's update of weights ends in the next step.
  void take() { clock_.take(record_.phase_seconds); }
  double total() const { return std::chrono::duration<double>(Clock::now() - start_).count(); }

 private:
  using Clock = std::chrono::steady_clock;
  metrics::StepRecord& record_;
  DeviceClock& clock_;
  Clock::time_point start_ = Clock::now();
};

/// What all ranks tell each other once a step: integers, so that the order of sums is of no matter.
class StepSums {
 public:
  enum Count { kStop, kCheckpoint, kCopy, kUnfinished, kFailed, kReplaced, kBroken, kCounts };

  StepSums(size_t draws, size_t categories, int ranks)
      : draws_(draws),
        categories_(categories),
        words_(at::zeros(
            {static_cast<int64_t>(kCounts + ExactSum::kWords + 2 * draws + categories) + ranks},
            at::kLong)) {}

  int64_t& count(Count which) { return begin()[which]; }
  void set_squares(const ExactSum& squares) {
    std::ranges::copy(squares.words(), begin() + kCounts);
  }
  ExactSum squares() {
    return ExactSum(
        std::span<const int64_t, ExactSum::kWords>(begin() + kCounts, ExactSum::kWords));
  }
  /// f64, of the draws from `first` on in the global batch.
  void set_losses(size_t first, const at::Tensor& losses) {
    // Only one rank has a draw: its bits, added to zeros, reach all.
    std::memcpy(losses_begin() + first, losses.const_data_ptr<double>(), losses.nbytes());
  }
  /// `first`: the place of the micro-batch's first draw in the global batch.
  void set_draws(size_t first, const data::Batch& batch) {
    for (size_t i = 0; i < batch.draws.size(); ++i) {
      const int64_t timestep =
          batch.timesteps.defined() ? batch.timesteps.const_data_ptr<int64_t>()[i] : -1;
      identities()[first + i] = (timestep + 1) << 32 | batch.draws[i].example;
    }
  }
  /// In the order of draws.
  std::vector<metrics::DrawLoss> draw_losses() {
    std::vector<metrics::DrawLoss> all;
    for (size_t i = 0; i < draws_; ++i) {
      all.push_back({static_cast<uint32_t>(identities()[i]),
                     static_cast<int32_t>(identities()[i] >> 32) - 1,
                     std::bit_cast<double>(losses_begin()[i])});
    }
    return all;
  }
  /// Summed in the order of draws.
  double loss() {
    double sum = 0;
    for (size_t i = 0; i < draws_; ++i) sum += std::bit_cast<double>(losses_begin()[i]);
    return sum / static_cast<double>(draws_);
  }
  /// One count a category.
  int64_t* categories() { return identities() + draws_; }
  /// One number a rank: nanoseconds that its own work took.
  std::span<int64_t> rank_times() {
    return {categories() + categories_, words_.data_ptr<int64_t>() + words_.numel()};
  }
  void add_up(Communicator& communicator) { communicator.all_reduce(words_)->wait(); }

 private:
  int64_t* begin() { return words_.data_ptr<int64_t>(); }
  int64_t* losses_begin() { return begin() + kCounts + ExactSum::kWords; }
  /// One word a draw: its timestep + 1 (0 if it has none) above its example.
  int64_t* identities() { return losses_begin() + draws_; }

  size_t draws_, categories_;
  at::Tensor words_;
};

double own_seconds(const metrics::StepRecord& record) {
  double sum = 0;
  for (const Phase phase : {Phase::kData, Phase::kForward, Phase::kBackward})
    sum += record.phase_seconds[static_cast<size_t>(phase)];
  return sum;
}

/// What decides how much a micro-batch computes.
std::vector<int64_t> sizes_of(const data::Batch& batch) {
  std::vector<int64_t> sizes;
  for (const at::Tensor& tensor : {batch.latents, batch.images, batch.input_ids}) {
    if (tensor.defined()) sizes.insert(sizes.end(), tensor.sizes().begin(), tensor.sizes().end());
  }
  return sizes;
}

/// As torch.nn.utils.clip_grad_norm_, its 1e-6 included. `limit` 0 = off.
double clip_factor(double limit, double norm) {
  return limit > 0 ? std::min(1.0, limit / (norm + 1e-6)) : 1;
}

std::vector<NamedSpan> spans_of(const FlatParameters& flat) {
  std::vector<NamedSpan> spans;
  for (const FlatRange& range : flat.ranges())
    spans.push_back({range.name, range.offset, range.offset + range.numel});
  return spans;
}

/// The blocks of digests that `ranges` consist of.
std::vector<int64_t> blocks_of(const std::vector<Range>& ranges) {
  static_assert(Partition::kAlignment % kDigestBlock == 0);
  std::vector<int64_t> blocks;
  for (const Range& range : ranges) {
    for (int64_t i = range.begin / kDigestBlock; i < range.end / kDigestBlock; ++i)
      blocks.push_back(i);
  }
  return blocks;
}

ReducerOptions reducer_options(const RunConfig& config) {
  return {config.optimizer.shard, config.communication.overlap, wire_of(config),
          reduction_of(config)};
}

}  // namespace

at::ScalarType dtype_of(const RunConfig& config) {
  if (config.train.precision == "bf16") return at::kBFloat16;
  return config.train.precision == "fp16" ? at::kHalf : at::kFloat;
}

Reduction reduction_of(const RunConfig& config) {
  return config.communication.reduction == "fast" ? Reduction::kFast : Reduction::kExact;
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

Wire wire_of(const RunConfig& config) {
  return config.communication.wire == "bf16" ? Wire::kBFloat16 : Wire::kFloat32;
}

SummationTree summation_tree(const RunConfig& config, int ranks) {
  if (reduction_of(config) == Reduction::kFast) return SummationTree::over_ranks(ranks);
  const BatchSplit split = split_batch(config.train.global_batch, config.train.micro_batch, ranks);
  return {static_cast<int64_t>(config.train.global_batch / split.micro), ranks};
}

GradientStorage gradient_storage_of(const RunConfig& config, int ranks) {
  const BatchSplit split = split_batch(config.train.global_batch, config.train.micro_batch, ranks);
  const bool alone = ranks == 1 && split.accumulation == 1;
  return alone && dtype_of(config) != at::kFloat ? GradientStorage::kTensors
                                                 : GradientStorage::kBuffer;
}

int64_t bucket_numel(const RunConfig& config) {
  return static_cast<int64_t>(config.communication.bucket_mb * (1 << 20) / sizeof(float));
}

Trainer::Trainer(const RunConfig& config, const model::Parameters& parameters, Objective& objective,
                 DrawCounter counter, Audit audit, Communicator& communicator)
    : Trainer(config, parameters, objective, std::move(counter), std::move(audit), communicator,
              gradient_storage_of(config, communicator.size())) {}

Trainer::Trainer(const RunConfig& config, const model::Parameters& parameters, Objective& objective,
                 DrawCounter counter, Audit audit, Communicator& communicator,
                 GradientStorage storage)
    : config_(config),
      objective_(objective),
      counter_(std::move(counter)),
      audit_(std::move(audit)),
      communicator_(communicator),
      device_(parameters.front().tensor.device()),
      split_(split_batch(config.train.global_batch, config.train.micro_batch, communicator.size())),
      partition_(flat_numel(flat_layout(parameters)), bucket_numel(config), communicator.size()),
      flat_(parameters, partition_.numel(), storage),
      optimizer_(
          flat_, config.optimizer,
          partition_.owned_by(config.optimizer.shard ? communicator.rank() : Partition::kEverybody),
          dtype_of(config) != at::kFloat),
      reducer_(flat_, partition_, reducer_options(config),
               static_cast<int64_t>(config.train.global_batch / split_.micro), communicator),
      gathers_(flat_, partition_, communicator),
      scaler_(dtype_of(config) == at::kHalf),
      verifier_(config.verify.every_steps, spans_of(flat_),
                config.verify.every_steps > 0 && rounds_alike(device_, communicator), communicator),
      memory_(spans_of(flat_), partition_.numel() / kDigestBlock, blocks_of(optimizer_.owned()),
              communicator),
      clock_(device_) {
  flat_.round_to(dtype_of(config));
  if (config.ema.decay > 0) ema_ = optimizer_.own_weights();  // in what the f32 values took
  objective_.set_before_use([this](auto used) { order_weights(used); });
}

Trainer::~Trainer() { objective_.set_before_use({}); }

metrics::StepRecord Trainer::step(data::Loader& loader, Wishes& wishes) {
  metrics::StepRecord record;
  PhaseClock clock(record, clock_);
  const uint64_t draws = config_.train.global_batch;
  StepSums sums(draws, counter_.size(), communicator_.size());

  const bool verified = is_verified(steps_done() + 1);
  if (verified) recompute(loader);
  clock.lap(Phase::kVerification);
  std::string problem;
  std::vector<data::Batch> under_way;  // a GPU copies from them until it is waited for
  std::vector<at::Tensor> all_losses;
  const uint64_t first = static_cast<uint64_t>(communicator_.rank()) * split_.accumulation;
  for (uint64_t micro = 0; micro < split_.accumulation; ++micro) {
    const data::Batch read = traced("data", [&] { return loader.next(); });
    if (!device_.is_cpu()) under_way.push_back(read);
    clock.lap(Phase::kData);
    if (!config_.communication.overlap && gathers_.order_all()) clock.lap(Phase::kCommunication);
    const data::Batch batch = on_device(read, device_);
    int64_t& flops = flops_[sizes_of(batch)];
    std::optional<model::FlopCounter> counter;
    if (flops == 0) counter.emplace();
    is_in_forward_ = true;
    const at::Tensor losses =
        traced("forward", [&] { return objective_.losses(batch) * batch.loss_scale; });
    is_in_forward_ = false;
    all_losses.push_back(losses.detach());
    sums.set_draws((first + micro) * split_.micro, read);
    counter_.add(batch.draws, sums.categories());
    if (problem.empty()) problem = unplanned(read, micro);
    sums.count(StepSums::kReplaced) += batch.replaced;
    audit_.add(read, losses);
    clock.lap(Phase::kForward);
    if (gathers_.order_all())  // of weights that this forward did not use
      clock.lap(Phase::kCommunication);
    reducer_.prepare(static_cast<int64_t>(micro), verified);
    traced("backward", [&] { scaled_mean(losses).backward(); });
    clock.lap(Phase::kBackward);
    if (counter) flops = counter->count();
    record.flops += static_cast<double>(flops) * communicator_.size();
    if (verified && repeats_gradients() && micro == chosen_micro_batch(communicator_.rank())) {
      verifier_.note_computed(Recomputed::kGradients, gradient_digests());
      clock.lap(Phase::kVerification);
    }
  }
  audit_.finish_step();

  traced("gradients of other ranks", [&] { reducer_.finish(); });
  clock.lap(Phase::kCommunication);
  const SquareSum squares = squared_norm();
  clock.lap(Phase::kOptimizer);
  const std::vector<at::Tensor> seen =
      on_host({at::cat(all_losses).to(at::kDouble), squares.of_blocks()});
  under_way.clear();
  gathers_.require_done();
  reducer_.require_done();
  sums.set_losses(first * split_.micro, seen[0]);
  sums.set_squares(squares.total(seen[1]));
  clock.take();
  sums.count(StepSums::kStop) = wishes.stop;
  sums.count(StepSums::kCheckpoint) = wishes.checkpoint;
  sums.count(StepSums::kCopy) = wishes.copy;
  sums.count(StepSums::kUnfinished) = wishes.writer.unfinished;
  sums.count(StepSums::kFailed) = wishes.writer.failed;
  if (problem.empty()) problem = memory_.changed();
  if (optimizer_.steps_taken() + left_out_ != steps_done_) problem = "optimizer step count";
  sums.count(StepSums::kBroken) = !problem.empty();
  sums.rank_times()[static_cast<size_t>(communicator_.rank())] =
      std::llround(1e9 * own_seconds(record));
  sums.add_up(communicator_);
  if (sums.count(StepSums::kBroken) > 0) verifier_.fail(steps_done() + 1, problem);
  wishes = {sums.count(StepSums::kStop) > 0,
            sums.count(StepSums::kCheckpoint) > 0,
            sums.count(StepSums::kCopy) > 0,
            {static_cast<int>(sums.count(StepSums::kUnfinished)),
             static_cast<int>(sums.count(StepSums::kFailed))}};
  const double loss = sums.loss();
  const double norm = std::sqrt(sums.squares().value()) / scaler_.scale();
  clock.lap(Phase::kCommunication);
  const bool finite = std::isfinite(loss) && std::isfinite(norm);
  if (!finite && !scaler_.may_lower()) {
    throw Diverged(fmt::format("training diverged at step {} (loss {}, gradient norm {})",
                               steps_done() + 1, loss, norm));
  }

  const StepSize size{lr_factor(config_.optimizer, steps_done(), config_.train.steps), ema_decay(),
                      norm, finite};
  const uint64_t before = verified ? digest_of_own_weights() : 0;
  clock.lap(Phase::kVerification);
  ++steps_done_;
  if (size.taken) {
    optimizer_.begin_step();
    flat_.scale_gradients(optimizer_.owned(),
                          clip_factor(config_.optimizer.grad_clip, norm) / scaler_.scale());
    if (verified) begin_update_check(size);
    traced("optimizer", [&] { update(size); });
    if (verified) end_update_check();
  } else {
    ++left_out_;
  }
  flat_.release_gradients();
  record.skipped = !size.taken;
  record.loss_scale = scaler_.scale();
  scaler_.update(size.taken);
  if (config_.verify.memory) memory_.take(flat_.values(), own_tensors());
  clock.lap(Phase::kOptimizer);
  if (verified) {
    finish_step();
    const std::vector<data::Draw> plan = loader.draws(steps_done() - 1);
    if (sums.count(StepSums::kReplaced) == 0) problem = off_plan(plan, sums.categories());
    require_movement(size, digest_of_own_weights() != before, problem);
    verify(size, plan);
    clock.lap(Phase::kVerification);
  }

  clock.take();
  record.step = steps_done();
  record.draws = record.step * config_.train.global_batch;
  record.loss = loss;
  record.grad_norm = norm;
  record.lr = config_.optimizer.lr * size.lr_factor;
  record.seconds = clock.total();
  record.samples_per_second = static_cast<double>(draws) / record.seconds;
  record.verified = verified;
  record.bad_rows = static_cast<uint64_t>(sums.count(StepSums::kReplaced));
  record.category_draws = counter_.named(sums.categories());
  record.draw_losses = sums.draw_losses();
  counter_.average(record);
  for (const int64_t time : sums.rank_times())
    record.rank_seconds.push_back(1e-9 * static_cast<double>(time));
  return record;
}

TrainerState Trainer::state() const {
  TrainerState state{.steps = steps_done_,
                     .optimizer_steps = optimizer_.steps_taken(),
                     .scaler = scaler_,
                     .owned = optimizer_.owned(),
                     .moments = optimizer_.moments(),
                     .ema = ema_};
  for (size_t i = 0; i < state.owned.size(); ++i) state.weights.push_back(optimizer_.weights(i));
  return state;
}

void Trainer::resume_at(const TrainerState& state) {
  steps_done_ = state.steps;
  optimizer_.resume_after(state.optimizer_steps);
  memory_.forget();
  left_out_ = state.steps - state.optimizer_steps;
  scaler_ = state.scaler;
}

/// Of a step's forward, which comes to them.
void Trainer::order_weights(std::span<const model::Parameter> used) {
  if (is_in_forward_) clock_.lap(static_cast<size_t>(Phase::kForward));
  const bool was_under_way = gathers_.order(used);
  if (is_in_forward_ && was_under_way) clock_.lap(static_cast<size_t>(Phase::kCommunication));
}

at::Tensor Trainer::scaled_mean(const at::Tensor& losses) const {
  return losses.sum() / static_cast<double>(config_.train.global_batch) * scaler_.scale();
}

/// Of this rank's part of the gradients: unsharded, every rank holds all.
SquareSum Trainer::squared_norm() const {
  SquareSum sum;
  for (const Range& range : partition_.owned_by(communicator_.rank()))
    sum.add(flat_.gradients_in(range));
  return sum;
}

void Trainer::update(const StepSize& size) {
  // First what the next forward needs first: where backward was last.
  for (const size_t i : std::views::reverse(reducer_.order())) {
    optimizer_.step(i, size.lr_factor);
    if (is_sharded()) gathers_.send(i);
    average(i, size.ema_decay);
  }
}

/// Of the next step.
double Trainer::ema_decay() const {
  // Early averages would otherwise be mostly the first weights; the ramp is that of diffusers'
  // EMAModel.
  const auto before = static_cast<double>(steps_done());
  return before == 0 ? 0 : std::min(config_.ema.decay, (1 + before) / (10 + before));
}

void Trainer::average(size_t range, double decay) {
  if (!ema_.defined()) return;
  const Range own = optimizer_.own_range(range);
  ema_.narrow(0, own.begin, own.size()).lerp_(optimizer_.weights(range), 1 - decay);
}

bool Trainer::publishes_own() const {
  return !ema_.defined() && flat_.values().scalar_type() == at::kFloat;
}

void Trainer::with_published(const std::function<void()>& work) {
  finish_step();
  if (!ema_.defined()) return work();
  swap_averages(/*back=*/false);
  work();
  swap_averages(/*back=*/true);
}

/// The averages into the networks, a bucket after the other, or `back`: where an optimizer's copy
/// keeps the f32 weights, these are rounded again; else weights and averages change places.
void Trainer::swap_averages(bool back) {
  const at::NoGradGuard no_grad;
  for (size_t i = 0; i < optimizer_.owned().size(); ++i) {
    const Range& range = optimizer_.owned()[i];
    const Range own = optimizer_.own_range(i);
    at::Tensor values = flat_.values().narrow(0, range.begin, range.size());
    at::Tensor average = ema_.narrow(0, own.begin, own.size());
    if (optimizer_.kept_copy().defined()) {
      values.copy_(back ? optimizer_.weights(i) : average);
    } else {
      const at::Tensor kept = values.clone();
      values.copy_(average);
      average.copy_(kept);
    }
    if (is_sharded()) gathers_.send(i);
  }
  finish_step();
}

void Trainer::visit_published(const std::function<void(const Range&, const at::Tensor&)>& visit) {
  finish_step();
  if (publishes_own()) return visit({0, flat_.values().numel()}, flat_.values());
  const at::Tensor room =
      at::empty({partition_.bucket(0).size()}, flat_.values().options().dtype(at::kFloat));
  for (size_t i = 0; i < optimizer_.owned().size(); ++i) {
    const Range bucket = partition_.bucket(i), own = optimizer_.own_range(i);
    at::Tensor whole = room.narrow(0, 0, bucket.size());
    at::Tensor part = whole.narrow(0, optimizer_.owned()[i].begin - bucket.begin, own.size());
    part.copy_(ema_.defined() ? ema_.narrow(0, own.begin, own.size()) : optimizer_.weights(i));
    if (config_.optimizer.shard) communicator_.all_gather(part, whole)->wait();
    visit(bucket, whole);
  }
}

}  // namespace kessoku::runtime
