#include "runtime/planning/step_profiler.h"

#include <ATen/TensorOperators.h>

#include <algorithm>
#include <chrono>
#include <deque>

#include "base/process/process.h"
#include "runtime/host/process_resources.h"

namespace kessoku::runtime {

namespace {

using Clock = std::chrono::steady_clock;
using metrics::Phase;

constexpr uint64_t kMostSteps = 8;
constexpr size_t kFewestSteps = 3;  // that are measured
constexpr double kEnoughSeconds = 2;

double seconds_between(Clock::time_point begin, Clock::time_point end) {
  return std::chrono::duration<double>(end - begin).count();
}

class NothingPending : public Pending {
 public:
  void wait() override {}
  bool done() const override { return true; }
};

/// Notes when somebody needs it.
class NotingPending : public NothingPending {
 public:
  explicit NotingPending(Clock::time_point& awaited) : awaited_(awaited) {}
  void order() override { awaited_ = Clock::now(); }

 private:
  Clock::time_point& awaited_;
};

/// Rank 0 of ranks that are not there. Notes when gradients are sent, their norm, and weights
/// awaited.
class PretendCommunicator : public Communicator {
 public:
  explicit PretendCommunicator(int size) : size_(size) {}
  int rank() const override { return 0; }
  int size() const override { return size_; }
  int local_rank() const override { return 0; }
  int local_size() const override { return 1; }
  std::unique_ptr<Pending> all_reduce(at::Tensor& tensor) override {
    if (tensor.scalar_type() == at::kFloat) {
      sent_.push_back(Clock::now());
    } else {
      norm_sent_ = Clock::now();
    }
    return std::make_unique<NothingPending>();
  }
  std::unique_ptr<Pending> reduce_scatter(const std::vector<at::Tensor>&, at::Tensor&,
                                          const SummationTree&, Wire) override {
    sent_.push_back(Clock::now());
    return std::make_unique<NothingPending>();
  }
  std::unique_ptr<Pending> all_gather(const at::Tensor&, at::Tensor&) override {
    return std::make_unique<NotingPending>(awaited_.emplace_back());
  }
  std::unique_ptr<Pending> broadcast(at::Tensor&, int) override {
    return std::make_unique<NothingPending>();
  }
  std::unique_ptr<Pending> shift(const at::Tensor&, at::Tensor&, int) override {
    return std::make_unique<NothingPending>();
  }
  void barrier() override {}

  std::vector<Clock::time_point>& sent() { return sent_; }
  Clock::time_point norm_sent() const { return norm_sent_; }
  /// Those of the weights that were awaited since the last call, in the order of sending.
  std::vector<Clock::time_point> take_awaited() {
    const auto end = std::ranges::find(awaited_, Clock::time_point());
    std::vector<Clock::time_point> taken(awaited_.begin(), end);
    awaited_.erase(awaited_.begin(), end);
    return taken;
  }

 private:
  int size_;
  std::vector<Clock::time_point> sent_;
  Clock::time_point norm_sent_;
  std::deque<Clock::time_point> awaited_;  // stay where they are
};

/// Notes when forward and backward begin.
class TimedObjective : public Objective {
 public:
  explicit TimedObjective(Objective& objective) : objective_(objective) {}
  at::Tensor losses(const data::Batch& batch) override {
    forward_ = Clock::now();
    batch_bytes_ = 0;
    for (const at::Tensor& tensor : {batch.images, batch.masks, batch.latents, batch.noise,
                                     batch.timesteps, batch.loss_scale, batch.input_ids})
      batch_bytes_ += tensor.defined() ? static_cast<int64_t>(tensor.nbytes()) : 0;
    at::Tensor losses = objective_.losses(batch);
    losses.register_hook([this](const at::Tensor&) { backward_ = Clock::now(); });
    return losses;
  }
  void set_before_use(const model::BeforeUse& before_use) override {
    objective_.set_before_use(before_use);
  }
  Clock::time_point forward() const { return forward_; }
  Clock::time_point backward() const { return backward_; }
  int64_t batch_bytes() const { return batch_bytes_; }

 private:
  Objective& objective_;
  Clock::time_point forward_, backward_;
  int64_t batch_bytes_ = 0;
};

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<int64_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

/// Of one number of each step.
template <typename Number>
double median_of(const std::vector<StepCosts>& steps, Number number) {
  std::vector<double> values;
  std::ranges::transform(steps, std::back_inserter(values), number);
  return median(std::move(values));
}

StepCosts medians(const std::vector<StepCosts>& steps) {
  StepCosts costs;
  for (double StepCosts::*cost :
       {&StepCosts::forward, &StepCosts::backward, &StepCosts::norm, &StepCosts::update})
    costs.*cost = median_of(steps, [&](const StepCosts& step) { return step.*cost; });
  for (std::vector<double> StepCosts::*parts : {&StepCosts::ready, &StepCosts::needed}) {
    for (size_t i = 0; i < (steps.front().*parts).size(); ++i)
      (costs.*parts).push_back(median_of(steps, [&](const StepCosts& step) {
        return (step.*parts)[i];
      }));
  }
  return costs;
}

}  // namespace

StepProfile profile_steps(const RunConfig& config, int ranks, const model::Parameters& parameters,
                          Objective& objective, const data::Store& store,
                          const LoaderMaker& make_loader, AllocationTracker& memory) {
  RunConfig own = config;
  own.verify.every_steps = 0;  // of ranks that are not there
  own.train.micro_batch =
      split_batch(config.train.global_batch, config.train.micro_batch, ranks).micro;
  own.train.global_batch = own.train.micro_batch * static_cast<uint64_t>(ranks);
  own.train.steps = kMostSteps;
  own.optimizer.warmup_steps = 0;
  own.communication.overlap = true;
  model::convert_parameters(parameters, at::kFloat);  // those of an earlier profile
  PretendCommunicator communicator(ranks);
  TimedObjective timed(objective);
  Trainer trainer(own, parameters, timed, DrawCounter(store.manifest().categories, store.rows()),
                  Audit({}, 0, communicator), communicator, gradient_storage_of(config, ranks));
  const std::unique_ptr<data::Loader> loader = make_loader(own, communicator);

  std::vector<StepCosts> steps;
  StepProfile profile;
  int64_t most = 0;  // of tensors
  restart_peak_memory();
  const auto begin = Clock::now();
  while (trainer.steps_done() < kMostSteps) {
    communicator.sent().clear();
    Wishes wishes;
    const int64_t held = memory.live();
    memory.restart_peak();
    const metrics::StepRecord record = trainer.step(*loader, wishes);
    profile.activation_bytes = std::max(profile.activation_bytes, memory.peak() - held);
    most = std::max(most, memory.peak());
    const std::vector<Clock::time_point> awaited = communicator.take_awaited();
    if (trainer.steps_done() == 1) continue;  // warms up, and learns the order of the buckets
    const auto seconds = [&](Phase phase) {
      return record.phase_seconds[static_cast<size_t>(phase)];
    };
    StepCosts& step = steps.emplace_back();
    step.forward = seconds(Phase::kForward);
    step.backward = seconds(Phase::kBackward);
    step.norm =
        std::max(0.0, seconds_between(timed.backward(), communicator.norm_sent()) - step.backward);
    step.update = seconds(Phase::kOptimizer) - step.norm;
    for (const auto& sent : communicator.sent())
      step.ready.push_back(std::min(1.0, seconds_between(timed.backward(), sent) / step.backward));
    for (const auto& needed : awaited)
      step.needed.push_back(std::min(1.0, seconds_between(timed.forward(), needed) / step.forward));
    if (steps.size() >= kFewestSteps && seconds_between(begin, Clock::now()) > kEnoughSeconds)
      break;
  }
  profile.costs = medians(steps);
  profile.program_bytes = static_cast<int64_t>(process_memory().peak) - most;
  profile.batch_bytes = timed.batch_bytes();
  return profile;
}

}  // namespace kessoku::runtime
