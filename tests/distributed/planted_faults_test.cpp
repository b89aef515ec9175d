// Run under mpirun: bits that flip, and kernels that go wrong, in a small training. Prints how many
// of each kind are found, and when.
//
//     KESSOKU_TEST_SEED        what is drawn by chance
//     KESSOKU_FAULT_TRIALS     of each kind (2)
//     KESSOKU_CLEAN_STEPS      that must raise no alarm (60)
//     KESSOKU_FAULT_TABLE      file that the table is written to, as JSON
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/mean.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/square.h>
#include <ATen/ops/tanh.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/random.h"
#include "data/sampling/sampler.h"
#include "runtime/training/trainer.h"
#include "runtime/verification/wrong_bits.h"
#include "tests/data/store/test_store.h"
#include "tests/distributed/mpi_test.h"

namespace kessoku::runtime {
namespace {

constexpr uint64_t kEvery = 5;

uint64_t number_in(const char* variable, uint64_t usual) {
  const char* text = std::getenv(variable);
  return text == nullptr ? usual : std::stoull(text);
}

/// Chance that is the same on all ranks.
class Chance {
 public:
  explicit Chance(uint64_t trial)
      : random_(number_in("KESSOKU_TEST_SEED", 1), Purpose::kNoise, trial) {}
  int64_t below(int64_t bound) {
    return static_cast<int64_t>(random_.below(static_cast<uint64_t>(bound)));
  }

 private:
  RandomStream random_;
};

/// Flips a bit of an element; those that make it infinite or NaN are left to other checks.
void flip_bit(const at::Tensor& values, Chance& chance) {
  const at::NoGradGuard no_grad;
  const int64_t element = chance.below(values.numel());
  const int64_t bit = chance.below(8 * values.element_size() - 2);  // not the two highest
  const at::ScalarType integer = values.element_size() == 2 ? at::kShort : at::kInt;
  const at::Tensor place = values.view({-1}).narrow(0, element, 1).view(integer);
  place.bitwise_xor_(int64_t{1} << bit);
}

/// Tells when gradients are sent and weights received, on this rank.
class TappedCommunicator : public Communicator {
 public:
  int rank() const override { return communicator->rank(); }
  int size() const override { return communicator->size(); }
  int local_rank() const override { return communicator->local_rank(); }
  int local_size() const override { return communicator->local_size(); }
  std::unique_ptr<Pending> all_reduce(at::Tensor& tensor) override {
    return communicator->all_reduce(tensor);
  }
  std::unique_ptr<Pending> reduce_scatter(const std::vector<at::Tensor>& blocks, at::Tensor& part,
                                          const SummationTree& tree, Wire wire) override {
    if (before_sum) before_sum(blocks.back());
    return tap(communicator->reduce_scatter(blocks, part, tree, wire), part, after_sum);
  }
  std::unique_ptr<Pending> all_gather(const at::Tensor& part, at::Tensor& whole) override {
    return tap(communicator->all_gather(part, whole), whole, after_gather);
  }
  std::unique_ptr<Pending> broadcast(at::Tensor& tensor, int root) override {
    return communicator->broadcast(tensor, root);
  }
  std::unique_ptr<Pending> shift(const at::Tensor& sent, at::Tensor& received,
                                 int distance) override {
    return communicator->shift(sent, received, distance);
  }
  void barrier() override { communicator->barrier(); }

  using Tap = std::function<void(const at::Tensor&)>;
  Tap before_sum, after_sum, after_gather;

 private:
  class Tapped : public Pending {
   public:
    Tapped(std::unique_ptr<Pending> pending, at::Tensor tensor, Tap& tap)
        : pending_(std::move(pending)), tensor_(std::move(tensor)), tap_(tap) {}
    void wait() override {
      pending_->wait();
      if (tap_) tap_(tensor_);
    }
    bool done() const override { return pending_->done(); }

   private:
    std::unique_ptr<Pending> pending_;
    at::Tensor tensor_;
    Tap& tap_;
  };
  static std::unique_ptr<Pending> tap(std::unique_ptr<Pending> pending, const at::Tensor& tensor,
                                      Tap& tap) {
    return std::make_unique<Tapped>(std::move(pending), tensor, tap);
  }
};

/// Predicts noise from latents with two layers. `wrong` adds what a broken kernel would.
class TwoLayers : public Objective {
 public:
  explicit TwoLayers(const model::Parameters& parameters) : parameters_(parameters) {}
  at::Tensor losses(const data::Batch& batch) override {
    if (on_batch) on_batch(batch.latents);
    if (before_use_) before_use_(parameters_);
    const at::Tensor& down = parameters_[0].tensor;
    const at::Tensor latents = batch.latents.flatten(1).to(down.scalar_type());
    at::Tensor hidden = at::tanh(latents.matmul(down));
    if (wrong) hidden = hidden * 1.015625;  // is not 1 in bf16
    const at::Tensor predicted = hidden.matmul(parameters_[1].tensor) + parameters_[2].tensor;
    return at::square(predicted.to(at::kFloat) - batch.noise.flatten(1)).mean(1);
  }
  void set_before_use(const model::BeforeUse& before_use) override { before_use_ = before_use; }

  std::function<void(const at::Tensor&)> on_batch;
  bool wrong = false;

 private:
  model::Parameters parameters_;
  model::BeforeUse before_use_;
};

struct Setting {
  bool shard = true;
  bool bf16 = false;
  bool memory = false;
  bool wrong_optimizer = false;  ///< on the rank that has the fault, from the first step on
};

RunConfig config_of(const Setting& setting, uint64_t seed, bool faulty) {
  RunConfig config;
  config.seed = seed;
  config.train.steps = 1'000'000;
  config.train.micro_batch = 1;
  config.train.global_batch = static_cast<uint64_t>(2 * communicator->size());
  config.train.precision = setting.bf16 ? "bf16" : "fp32";
  config.optimizer.lr = 1e-3;
  config.optimizer.shard = setting.shard;
  // As a kernel that divides by too much.
  if (setting.wrong_optimizer && faulty) config.optimizer.eps = 1e-4;
  config.ema.decay = 0.9;
  config.communication.bucket_mb = 4.0 * 4096 / (1 << 20);
  config.verify.every_steps = kEvery;
  config.verify.memory = setting.memory;
  config.checkpoint.every_steps = 0;
  return config;
}

/// A training of its own for each trial.
class Training {
 public:
  Training(const Setting& setting, uint64_t seed, const data::Store& store, bool faulty = false)
      : config_(config_of(setting, seed, faulty)),
        parameters_{weight("down", {64, 96}, seed), weight("up", {96, 64}, seed),
                    weight("bias", {64}, seed)},
        objective(parameters_),
        trainer(config_, parameters_, objective,
                DrawCounter(store.manifest().categories, store.rows()), Audit({}, 0, tapped),
                tapped),
        loader_(store, sampler_of(store), loader_options()) {
    trainer.watch_untrained({untrained});
  }
  void step() {
    Wishes wishes;
    trainer.step(loader_, wishes);
    trainer.finish_step();
  }

 private:
  static model::Parameter weight(const char* name, at::IntArrayRef shape, uint64_t seed) {
    at::Tensor values = at::empty(shape);
    RandomStream(seed, Purpose::kInitialWeights, static_cast<uint64_t>(name[0]))
        .fill_normal({values.data_ptr<float>(), static_cast<size_t>(values.numel())});
    return {name, (values * 0.1).to(device)};
  }
  data::Sampler sampler_of(const data::Store& store) const {
    const data::Examples examples = data::examples_of(store.manifest(), store.rows());
    const data::Mixture mixture = data::resolve_mixture(store.manifest().categories, examples, {});
    return {examples, mixture, {.seed = config_.seed, .global_batch = config_.train.global_batch}};
  }
  data::LoaderOptions loader_options() const {
    data::LoaderOptions options;
    options.seed = config_.seed;
    options.last_step = config_.train.steps;
    options.micro_batch = 1;
    options.rank = communicator->rank();
    options.ranks = communicator->size();
    options.threads = 1;
    return options;
  }

  RunConfig config_;
  model::Parameters parameters_;

 public:
  model::Parameter untrained = weight("untrained", {1000}, 7);
  TappedCommunicator tapped;
  TwoLayers objective;
  Trainer trainer;

 private:
  data::Loader loader_;
};

/// Plants a fault on this rank, which lasts or happens once.
using Plant = std::function<void(Training&, Chance&)>;

struct Kind {
  const char* name;
  Setting setting;
  Plant plant;
  double least_share;  ///< that must be found
  int least_ranks = 1;
};

/// Of tensors of the state in memory.
Plant flip_in(const std::function<at::Tensor(Training&, Chance&)>& tensor_of) {
  return [tensor_of](Training& training, Chance& chance) {
    flip_bit(tensor_of(training, chance), chance);
  };
}

TappedCommunicator::Tap flip_once(Chance& chance) {
  auto planted = std::make_shared<bool>(false);
  return [planted, &chance](const at::Tensor& tensor) {
    if (!std::exchange(*planted, true)) flip_bit(tensor, chance);
  };
}

/// Of the weights that a rank holds, without the padding behind them, which nobody uses.
at::Tensor weights_of(Training& training, Chance&) {
  return training.trainer.flat().values().narrow(0, 0, training.trainer.flat().used());
}
at::Tensor moment_of(Training& training, Chance& chance) {
  const model::Parameters& moments = training.trainer.state().moments;
  return moments[static_cast<size_t>(chance.below(std::ssize(moments)))].tensor;
}
at::Tensor average_of(Training& training, Chance&) { return training.trainer.state().ema; }
at::Tensor copy_of(Training& training, Chance& chance) {
  const std::vector<at::Tensor> weights = training.trainer.state().weights;
  return weights[static_cast<size_t>(chance.below(std::ssize(weights)))];
}

const Setting kSharded{}, kWhole{.shard = false}, kWatched{.memory = true},
    kWatchedBf16{.bf16 = true, .memory = true}, kBf16{.bf16 = true};

std::vector<Kind> kinds() {
  const Plant wrong_kernel = [](Training& training, Chance&) { training.objective.wrong = true; };
  const Plant wrong_batch = [](Training& training, Chance& chance) {
    training.objective.on_batch = flip_once(chance);
  };
  const Plant wrong_sum = [](Training& training, Chance& chance) {
    training.tapped.after_sum = flip_once(chance);
  };
  const Plant wrong_gradient = [](Training& training, Chance& chance) {
    training.tapped.before_sum = flip_once(chance);
  };
  const Plant wrong_weights_received = [](Training& training, Chance& chance) {
    training.tapped.after_gather = [flip = flip_once(chance)](const at::Tensor& received) {
      if (received.dim() == 1 && received.scalar_type() == at::kFloat) flip(received);
    };
  };
  const Plant nothing = [](Training&, Chance&) {};
  return {
      {"weights, every rank steps all", kWhole, flip_in(weights_of), 1, 2},
      {"moments, every rank steps all", kWhole, flip_in(moment_of), 0, 2},
      {"averages, every rank steps all", kWhole, flip_in(average_of), 0, 2},
      {"weights, watched", kWatched, flip_in(weights_of), 1},
      {"weights in bf16, watched", kWatchedBf16, flip_in(weights_of), 1},
      {"fp32 copy of weights, watched", kWatchedBf16, flip_in(copy_of), 1},
      {"moments, watched", kWatched, flip_in(moment_of), 1},
      {"averages, watched", kWatched, flip_in(average_of), 1},
      {"untrained weights", kSharded,
       flip_in([](Training& training, Chance&) { return training.untrained.tensor; }), 1},
      {"received weights, watched", kWatched, wrong_weights_received, 1, 2},
      {"weights, not watched", kSharded, flip_in(weights_of), 0},
      {"gradients before the exchange", kSharded, wrong_gradient, 0, 2},
      {"gradients after the exchange", kSharded, wrong_sum, 0, 2},
      {"batch", kSharded, wrong_batch, 0},
      {"kernel of the network, from then on", kSharded, wrong_kernel, 0.99, 2},
      {"the same in bf16", kBf16, wrong_kernel, 0.99, 2},
      {"the same, every rank steps all", kWhole, wrong_kernel, 0.99, 2},
      {"kernel of the optimizer, always", {.wrong_optimizer = true}, nothing, 0.99, 2},
  };
}

/// What was found, and how many steps after the fault.
struct Found {
  std::string what;
  std::vector<int> ranks;
  uint64_t steps;
};

std::optional<Found> try_fault(const Kind& kind, uint64_t trial, int& rank) {
  static const data::TestStore files({data::Kind::kLatents});
  static const data::Store store(files.path());
  Chance chance(trial);
  rank = static_cast<int>(chance.below(communicator->size()));
  // On GPUs the first verification must show that gradients repeat.
  const uint64_t earliest = device.is_cpu() ? 1 : 1 + kEvery;
  const uint64_t when =
      kind.setting.wrong_optimizer ? 0 : earliest + static_cast<uint64_t>(chance.below(2 * kEvery));
  Training training(kind.setting, trial, store, communicator->rank() == rank);
  try {
    for (uint64_t step = 1; step <= when + 2 * kEvery; ++step) {
      if (step == when + 1 && communicator->rank() == rank) kind.plant(training, chance);
      training.step();
    }
  } catch (const WrongBits& error) {
    return Found{error.difference().what, error.difference().ranks, error.step() - when};
  }
  return std::nullopt;
}

TEST(PlantedFaults, AreFoundWithinTwoVerifications) {
  const uint64_t trials = number_in("KESSOKU_FAULT_TRIALS", 2);
  nlohmann::ordered_json table = nlohmann::ordered_json::array();
  uint64_t trial = 0;
  for (const Kind& kind : kinds()) {
    if (communicator->size() < kind.least_ranks) continue;
    uint64_t found = 0, named = 0, most_steps = 0;
    for (uint64_t i = 0; i < trials; ++i) {
      int rank = 0;
      const std::optional<Found> result = try_fault(kind, ++trial, rank);
      if (!result) continue;
      ++found;
      named += result->ranks == std::vector<int>{rank};
      most_steps = std::max(most_steps, result->steps);
      EXPECT_LE(result->steps, 2 * kEvery) << kind.name;
      EXPECT_NE(std::ranges::find(result->ranks, rank), result->ranks.end())
          << kind.name << ": " << result->what;
    }
    const double share = static_cast<double>(found) / static_cast<double>(trials);
    EXPECT_GE(share, kind.least_share) << kind.name;
    table.push_back({{"fault", kind.name},
                     {"ranks", communicator->size()},
                     {"trials", trials},
                     {"found", found},
                     {"rank_named", named},
                     {"most_steps", most_steps}});
    if (communicator->rank() == 0) {
      fmt::print("{:40} found {:3} of {}, rank named {:3}, within {} steps\n", kind.name, found,
                 trials, named, most_steps);
    }
  }
  const char* file = std::getenv("KESSOKU_FAULT_TABLE");
  if (file != nullptr && communicator->rank() == 0) std::ofstream(file) << table.dump(1) << "\n";
}

TEST(PlantedFaults, NoneIsFoundWhereThereIsNone) {
  const data::TestStore files({data::Kind::kLatents});
  const data::Store store(files.path());
  const std::array settings{kWatched, kWatchedBf16, Setting{.shard = false, .memory = true}};
  const uint64_t steps = number_in("KESSOKU_CLEAN_STEPS", 60);
  for (const Setting& setting : settings) {
    Training training(setting, 5, store);
    for (uint64_t step = 0; step < steps / settings.size(); ++step)
      ASSERT_NO_THROW(training.step());
  }
}

}  // namespace
}  // namespace kessoku::runtime
