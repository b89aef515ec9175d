#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/sum.h>

#include <algorithm>
#include <bit>
#include <iterator>

#include "base/checksum.h"
#include "base/random.h"
#include "runtime/host/device.h"
#include "runtime/training/trainer.h"
#include "runtime/verification/block_digests.h"

namespace kessoku::runtime {

namespace {

template <typename Number>
int64_t bits_of(Number number) {
  return std::bit_cast<int64_t>(number);
}

int64_t digest_of(const std::vector<data::Draw>& draws) {
  std::vector<uint64_t> numbers;
  for (const data::Draw& draw : draws)
    numbers.insert(numbers.end(), {draw.number, draw.pass, draw.example, draw.bucket});
  return bits_of(checksum(std::as_bytes(std::span(numbers))));
}

/// Learning rates below may leave all weights of a small model as they are.
constexpr double kLeastMovingRate = 1e-9;

}  // namespace

/// Also before a checkpoint that is planned, so that it is of weights that were verified.
bool Trainer::is_verified(uint64_t step) const {
  const uint64_t checkpoints = config_.checkpoint.every_steps;
  return verifier_.is_due(step) ||
         (verifier_.on() &&
          ((checkpoints > 0 && step % checkpoints == 0) || step == config_.train.steps));
}

/// The micro-batch of `rank` that is computed twice in the next step.
uint64_t Trainer::chosen_micro_batch(int rank) const {
  const uint64_t drawn =
      RandomStream(config_.seed, Purpose::kVerification, steps_done()).below(split_.accumulation);
  return static_cast<uint64_t>(reducer_.alone_at(rank, static_cast<int64_t>(drawn)));
}

/// Whether a micro-batch that is computed again has the same gradients.
bool Trainer::repeats_gradients() const {
  return (device_.is_cpu() || config_.train.deterministic) && verifier_.gradients_repeat();
}

/// Of all blocks, as `block_digests` of a buffer.
at::Tensor Trainer::gradient_digests() const {
  std::vector<at::Tensor> digests;
  for (size_t i = 0; i < partition_.buckets(); ++i)
    digests.push_back(block_digests(flat_.gradients_in(partition_.bucket(i))));
  return at::cat(digests);
}

void Trainer::recompute(data::Loader& loader) {
  if (!repeats_gradients()) return;
  const int rank = verifier_.checked_rank();
  const data::Batch read = loader.read(steps_done(), rank, chosen_micro_batch(rank));
  const data::Batch batch = on_device(read, device_);
  flat_.clear_gradients();
  const at::Tensor losses = objective_.losses(batch) * batch.loss_scale;
  finish_step();
  scaled_mean(losses).backward();
  verifier_.note_recomputed(Recomputed::kGradients, gradient_digests());
  flat_.release_gradients();
}

/// What is wrong with a batch, if its draws are not those of its place in the run.
std::string Trainer::unplanned(const data::Batch& batch, uint64_t micro) const {
  if (batch.step != steps_done()) return "step number";
  const uint64_t block = static_cast<uint64_t>(communicator_.rank()) * split_.accumulation + micro;
  uint64_t number = steps_done() * config_.train.global_batch + block * split_.micro;
  for (const data::Draw& draw : batch.draws) {
    if (draw.number != number++) return "draw numbers";
  }
  return batch.draws.size() == split_.micro ? "" : "size of a batch";
}

std::string Trainer::off_plan(const std::vector<data::Draw>& plan,
                              const int64_t* categories) const {
  std::vector<int64_t> planned(counter_.size());
  counter_.add(plan, planned.data());
  return std::equal(planned.begin(), planned.end(), categories) ? "" : "draws by category";
}

uint64_t Trainer::digest_of_own_weights() const {
  std::vector<uint64_t> digests;
  for (size_t i = 0; i < optimizer_.owned().size(); ++i)
    digests.push_back(runtime::digest_of(optimizer_.weights(i)));
  return checksum(std::as_bytes(std::span(digests)));
}

/// That of an element by chance: one that is mostly padding would show little.
size_t Trainer::chosen_bucket() const {
  const auto element = static_cast<int64_t>(
      RandomStream(config_.seed, Purpose::kVerification, steps_done()).below(flat_.used()));
  size_t bucket = 0;
  while (partition_.bucket(bucket).end <= element) ++bucket;
  return bucket;
}

/// Has another rank step a bucket's part with this rank's numbers, before this rank does.
void Trainer::begin_update_check(const StepSize& size) {
  const at::NoGradGuard no_grad;
  checked_bucket_ = chosen_bucket();
  const int rank = verifier_.checked_rank();
  const at::Tensor own = update_state(/*gradients=*/true);
  at::Tensor all = at::empty({communicator_.size(), own.size(0), own.size(1)}, own.options());
  communicator_.all_gather(own, all)->wait();
  const std::vector<at::Tensor> rows = all[rank].unbind();
  const std::vector<at::Tensor> moments(rows.begin() + 2,
                                        rows.begin() + 2 + std::ssize(optimizer_.moments()));
  const Range range = config_.optimizer.shard ? partition_.part(checked_bucket_, rank)
                                              : partition_.bucket(checked_bucket_);
  optimizer_.repeat_step(range, rows[1], rows[0], moments, size.lr_factor);
  if (ema_.defined()) rows.back().lerp_(rows[1], 1 - size.ema_decay);
  verifier_.note_recomputed(Recomputed::kUpdate,
                            block_digests(all[rank].slice(0, 1).reshape({-1})));
}

void Trainer::end_update_check() {
  const at::NoGradGuard no_grad;
  verifier_.note_computed(Recomputed::kUpdate,
                          block_digests(update_state(/*gradients=*/false).view({-1})));
}

/// What this rank has of the checked bucket, as rows: gradients if asked for, weights, moments, the
/// average.
at::Tensor Trainer::update_state(bool gradients) const {
  const Range own = optimizer_.own_range(checked_bucket_);
  const Range& range = optimizer_.owned()[checked_bucket_];
  std::vector<at::Tensor> rows;
  if (gradients) rows.push_back(flat_.gradients_in(range));
  rows.push_back(optimizer_.weights(checked_bucket_));
  for (const model::Parameter& moment : optimizer_.moments())
    rows.push_back(moment.tensor.narrow(0, own.begin, own.size()));
  if (ema_.defined()) rows.push_back(ema_.narrow(0, own.begin, own.size()));
  return at::stack(rows);
}

/// The optimizer's tensors: of all that this rank owns, one range after the other.
std::vector<SharedTensor> Trainer::own_tensors() const {
  std::vector<SharedTensor> tensors;
  if (optimizer_.kept_copy().defined()) tensors.push_back({"fp32 weights", optimizer_.kept_copy()});
  for (const model::Parameter& moment : optimizer_.moments())
    tensors.push_back({"moments " + moment.name, moment.tensor});
  if (ema_.defined()) tensors.push_back({"averaged weights", ema_});
  return tensors;
}

/// What the ranks hold alike, if there are several.
std::vector<SharedTensor> Trainer::shared_tensors() const {
  if (communicator_.size() == 1) return {};
  std::vector<SharedTensor> tensors{{"weights", flat_.values()}};
  if (config_.optimizer.shard) return tensors;
  std::ranges::move(own_tensors(), std::back_inserter(tensors));
  return tensors;
}

/// Weights move if and only if the step was taken. `moved`: this rank's; another's part may be all
/// padding.
void Trainer::require_movement(const StepSize& size, bool moved, const std::string& problem) {
  const at::Tensor gathered = gather_numbers(
      {static_cast<int64_t>(moved), static_cast<int64_t>(!problem.empty())}, communicator_);
  const at::Tensor sums = gathered.sum(0);
  const bool any_moved = sums[0].item<int64_t>() > 0;
  if (sums[1].item<int64_t>() > 0) verifier_.fail(steps_done(), problem);
  if (!size.taken && any_moved)
    verifier_.fail(steps_done(), moved ? "weights, which moved though the step was left out," : "");
  if (size.taken && size.norm > 0 && !any_moved &&
      largest_rate() * size.lr_factor >= kLeastMovingRate)
    verifier_.fail(steps_done(), "weights, which did not move,");
}

/// The peak learning rate of what is trained fastest.
double Trainer::largest_rate() const {
  double largest = 0;
  for (const FlatRange& range : flat_.ranges())
    largest = std::max(largest, settings_of(config_.optimizer, range.name).lr);
  return largest;
}

void Trainer::verify(const StepSize& size, const std::vector<data::Draw>& plan) {
  compare_ranks({{"draws", digest_of(plan)},
                 {"learning rate", bits_of(size.lr_factor)},
                 {"decay of the averaged weights", bits_of(size.ema_decay)}});
  if (repeats_gradients()) recomputed_ = steps_done();
}

void Trainer::compare_ranks(const std::vector<SharedNumber>& numbers) {
  std::vector<SharedNumber> all{{"loss scale", bits_of(scaler_.scale())},
                                {"optimizer step count", bits_of(optimizer_.steps_taken())}};
  all.insert(all.end(), numbers.begin(), numbers.end());
  verifier_.compare(steps_done(), shared_tensors(), all);
  compared_ = steps_done();
}

Trainer::Verified Trainer::verify_weights() {
  if (!verifier_.on()) return {false, false};
  finish_step();
  if (compared_ != steps_done()) compare_ranks({});
  return {true, recomputed_ == steps_done()};
}

}  // namespace kessoku::runtime
