#include "runtime/verification/verifier.h"

#include <algorithm>

#include "base/checksum.h"
#include "base/log.h"
#include "base/process/process.h"
#include "runtime/verification/block_digests.h"
#include "runtime/verification/wrong_bits.h"

namespace kessoku::runtime {

namespace {

/// A column of gathered numbers: one a rank.
std::vector<int64_t> column(const at::Tensor& gathered, int64_t index) {
  std::vector<int64_t> values;
  for (int64_t rank = 0; rank < gathered.size(0); ++rank)
    values.push_back(gathered[rank].const_data_ptr<int64_t>()[index]);
  return values;
}

/// Of digests of blocks; 0 if there are none.
int64_t combined(const at::Tensor& digests) {
  return digests.defined() ? static_cast<int64_t>(digest_of(digests)) : 0;
}

/// Places in what ranks gather: first these, then one number for each tensor and each number.
enum Gathered : int64_t {
  kChanged,
  kComputed,
  kRecomputed = kComputed + 2,
  kShared = kRecomputed + 2
};

}  // namespace

Verifier::Verifier(uint64_t every_steps, std::vector<NamedSpan> spans, bool neighbors_agree,
                   Communicator& communicator)
    : every_steps_(every_steps),
      spans_(std::move(spans)),
      neighbors_agree_(neighbors_agree),
      communicator_(communicator) {}

void Verifier::watch_untrained(model::Parameters parameters) {
  untrained_.clear();
  if (!on()) return;
  for (model::Parameter& parameter : parameters) {
    const uint64_t digest = digest_of(parameter.tensor.detach());
    untrained_.push_back({std::move(parameter), digest});
  }
}

int Verifier::checked_rank() const {
  return neighbors_agree_ ? (communicator_.rank() + 1) % communicator_.size()
                          : communicator_.rank();
}

void Verifier::note_computed(Recomputed what, const at::Tensor& digests) {
  computed_[static_cast<size_t>(what)] = digests.cpu();
  on_cpu_ = digests.is_cpu();
}

void Verifier::note_recomputed(Recomputed what, const at::Tensor& digests) {
  recomputed_[static_cast<size_t>(what)] = digests.cpu();
}

void Verifier::compare(uint64_t step, const std::vector<SharedTensor>& tensors,
                       const std::vector<SharedNumber>& numbers) {
  std::vector<at::Tensor> blocks;
  std::vector<int64_t> own{first_changed(), combined(computed_[0]), combined(computed_[1]),
                           combined(recomputed_[0]), combined(recomputed_[1])};
  for (const SharedTensor& tensor : tensors) {
    blocks.push_back(block_digests(tensor.values).cpu());
    own.push_back(combined(blocks.back()));
  }
  for (const SharedNumber& number : numbers) own.push_back(number.bits);
  const at::Tensor gathered = gather_numbers(own, communicator_);

  require_unchanged(step, gathered);
  require_same_again(step, gathered, Recomputed::kGradients);
  require_same_again(step, gathered, Recomputed::kUpdate);
  int64_t place = kShared;
  for (size_t i = 0; i < tensors.size(); ++i, ++place)
    require_same(step, tensors[i], blocks[i], gathered.select(1, place).contiguous());
  for (const SharedNumber& number : numbers) {
    const std::vector<int> odd = odd_ranks(column(gathered, place++));
    if (!odd.empty()) raise(step, number.what, odd);
  }
  computed_ = {};
  recomputed_ = {};
}

/// The number of the first untrained parameter that is not what it was, from 1; 0 if all are.
int64_t Verifier::first_changed() const {
  for (size_t i = 0; i < untrained_.size(); ++i) {
    if (digest_of(untrained_[i].parameter.tensor.detach()) != untrained_[i].digest)
      return static_cast<int64_t>(i) + 1;
  }
  return 0;
}

void Verifier::require_unchanged(uint64_t step, const at::Tensor& gathered) {
  const std::vector<int64_t> changed = column(gathered, kChanged);
  std::vector<int> ranks;
  for (size_t rank = 0; rank < changed.size(); ++rank) {
    if (changed[rank] > 0) ranks.push_back(static_cast<int>(rank));
  }
  if (ranks.empty()) return;
  const auto first = static_cast<size_t>(changed[static_cast<size_t>(ranks.front())]) - 1;
  raise(step, "untrained weights in " + untrained_.at(first).parameter.name, ranks);
}

/// GPUs have kernels that add in a random order. Where all ranks' gradients differ the first time
/// that they are computed again, this is the reason, and not a fault.
bool Verifier::take_as_random(const std::vector<FailedCheck>& failed) {
  if (failed.empty()) repeated_ = true;
  if (!gradients_repeat_ || on_cpu_ || repeated_ || std::ssize(failed) < communicator_.size())
    return !gradients_repeat_;
  gradients_repeat_ = false;
  if (communicator_.rank() == 0) {
    log_warning(
        "gradients that are computed again differ on all ranks: this GPU's kernels are not "
        "deterministic. Verification compares no gradients");
  }
  return true;
}

void Verifier::require_same_again(uint64_t step, const at::Tensor& gathered, Recomputed what) {
  const auto place = static_cast<size_t>(what);
  const std::vector<int64_t> computed = column(gathered, kComputed + static_cast<int64_t>(place));
  const std::vector<int64_t> recomputed =
      column(gathered, kRecomputed + static_cast<int64_t>(place));
  const int ranks = communicator_.size();
  std::vector<FailedCheck> failed;
  for (int checker = 0; checker < ranks; ++checker) {
    const int owner = neighbors_agree_ ? (checker + 1) % ranks : checker;
    if (computed[static_cast<size_t>(owner)] != recomputed[static_cast<size_t>(checker)])
      failed.push_back({owner, checker});
  }
  if (what == Recomputed::kGradients && take_as_random(failed)) return;
  if (failed.empty()) return;
  if (what == Recomputed::kUpdate)
    raise(step, "recomputed step of the optimizer", suspects(failed));
  const at::Tensor once = gather_digests(computed_[place], communicator_);
  const at::Tensor again = gather_digests(recomputed_[place], communicator_);
  const std::vector<int64_t> differ =
      differing_blocks(once[failed[0].owner], again[failed[0].checker]);
  raise(step, "recomputed gradients of " + names_in(spans_, differ), suspects(failed));
}

void Verifier::require_same(uint64_t step, const SharedTensor& tensor, const at::Tensor& blocks,
                            const at::Tensor& gathered) {
  const std::vector<int> odd =
      odd_ranks({gathered.const_data_ptr<int64_t>(), static_cast<size_t>(gathered.numel())});
  if (odd.empty()) return;
  const at::Tensor all = gather_digests(blocks, communicator_);
  // A rank of the majority, or the second of those of which none is known to be right.
  int other = 0;
  while (other == odd[0] || (odd.size() < static_cast<size_t>(communicator_.size()) &&
                             std::ranges::find(odd, other) != odd.end()))
    ++other;
  raise(step, tensor.what + " in " + names_in(spans_, differing_blocks(all[odd[0]], all[other])),
        odd);
}

void Verifier::fail(uint64_t step, const std::string& problem) {
  const std::vector<std::string> problems = communicator_.all_gather_text(problem);
  std::string first;
  std::vector<int> ranks;
  for (size_t rank = 0; rank < problems.size(); ++rank) {
    if (problems[rank].empty()) continue;
    if (first.empty()) first = problems[rank];
    ranks.push_back(static_cast<int>(rank));
  }
  raise(step, first, ranks);
}

void Verifier::raise(uint64_t step, const std::string& what, const std::vector<int>& ranks) {
  const std::vector<std::string> all = communicator_.all_gather_text(host_name());
  std::vector<std::string> hosts;
  hosts.reserve(ranks.size());
  for (const int rank : ranks) hosts.push_back(all.at(static_cast<size_t>(rank)));
  throw WrongBits(step, {what, ranks}, hosts);
}

}  // namespace kessoku::runtime
