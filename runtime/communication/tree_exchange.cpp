#include "runtime/communication/tree_exchange.h"

#include <algorithm>

namespace kessoku::runtime {

namespace {

/// A single rank sends nothing.
at::ScalarType dtype_of(Wire wire, int ranks) {
  return wire == Wire::kBFloat16 && ranks > 1 ? at::kBFloat16 : at::kFloat;
}

/// Elements for each element of a part.
int64_t staged_elements(const ExchangeGroups& groups, at::ScalarType wire, int rank) {
  const ExchangeLoad load = groups.load_of(rank);
  const int64_t received = load.received_within + load.received;
  if (wire == at::kFloat) return received;  // blocks are sent from where they are
  return received + groups.tree().ranks() * std::ssize(groups.tree().blocks_of(rank));
}

}  // namespace

int64_t staged_bytes(const ExchangeGroups& groups, Wire wire) {
  const at::ScalarType dtype = dtype_of(wire, groups.tree().ranks());
  int64_t most = 0;
  for (int rank = 0; rank < groups.tree().ranks(); ++rank)
    most = std::max(most, staged_elements(groups, dtype, rank));
  const auto last_sum = dtype == at::kFloat ? 0 : c10::elementSize(at::kFloat);
  return most * static_cast<int64_t>(c10::elementSize(dtype)) + static_cast<int64_t>(last_sum);
}

TreeExchange::TreeExchange(std::vector<at::Tensor> blocks, at::Tensor part, ExchangeGroups groups,
                           Wire wire, int rank, Staging& staging)
    : blocks_(std::move(blocks)),
      part_(std::move(part)),
      groups_(std::move(groups)),
      wire_(dtype_of(wire, groups_.tree().ranks())),
      rank_(rank),
      staging_(staging) {
  constexpr int64_t kLeast = 1024;  // elements
  const int64_t an_element = std::max<int64_t>(1, staged_bytes(groups_, wire));
  const int64_t fits =
      std::max(kLeast, static_cast<int64_t>(staging.limit()) / an_element / kLeast * kLeast);
  chunk_ = std::max<int64_t>(1, std::min(fits, part_.numel()));
  chunks_ = static_cast<size_t>((part_.numel() + chunk_ - 1) / chunk_);
}

void TreeExchange::begin_round() {
  sends_.clear();
  receives_.clear();
  const bool first = !groups_.any_adds() || round_ % 2 == 0;
  if (first) {
    begin_chunk();
    exchange_within_group();
  }
  if (!first || !groups_.any_adds()) exchange_between_groups();
}

CollectiveLog::Traffic TreeExchange::traffic() const {
  CollectiveLog::Traffic traffic;
  for (const Message& message : sends_)
    traffic.sent += static_cast<int64_t>(message.tensor.nbytes());
  for (const Message& message : receives_)
    traffic.received += static_cast<int64_t>(message.tensor.nbytes());
  return traffic;
}

void TreeExchange::finish_round() {
  ++round_;
  if (own_.empty()) return;
  sum_blocks(std::move(own_), part_.narrow(0, begin_, numel_));
  own_.clear();
  sums_.clear();
}

void TreeExchange::begin_chunk() {
  begin_ = static_cast<int64_t>(round_ / (groups_.any_adds() ? 2 : 1)) * chunk_;
  numel_ = std::min(chunk_, part_.numel() - begin_);
  staging_.reserve(numel_ * staged_elements(groups_, wire_, rank_), part_.options().dtype(wire_));
  rounded_.clear();
  if (wire_ == at::kFloat) return;
  const int64_t ranks = groups_.tree().ranks();
  for (const at::Tensor& block : blocks_) {
    rounded_.push_back(staging_.take(ranks * numel_).view({ranks, numel_}));
    rounded_.back().copy_(block.view({ranks, part_.numel()}).narrow(1, begin_, numel_));
  }
}

at::Tensor TreeExchange::part_of(size_t block, int owner) const {
  if (wire_ != at::kFloat) return rounded_[block].select(0, owner);
  return blocks_[block].narrow(0, owner * part_.numel() + begin_, numel_);
}

at::Tensor TreeExchange::receive_from(int peer) {
  receives_.push_back({peer, staging_.take(numel_)});
  return receives_.back().tensor;
}

void TreeExchange::exchange_within_group() {
  const std::vector<int>& members = groups_.members(groups_.group_of(rank_));
  for (const int owner : groups_.owners_added_by(rank_)) {
    std::vector<BlockSum>& sums = sums_.emplace_back(Sums{owner, {}}).blocks;
    for (const int member : members) {
      const std::vector<TreeBlock> places = groups_.tree().blocks_of(member);
      for (size_t i = 0; i < places.size(); ++i) {
        if (member == rank_) {
          sums.push_back({places[i], part_of(i, owner), wire_ != at::kFloat});
        } else {
          sums.push_back({places[i], receive_from(member), true});
        }
      }
    }
  }
  const auto place = static_cast<size_t>(std::ranges::find(members, rank_) - members.begin());
  for (size_t distance = 1; distance < members.size(); ++distance) {  // not all to one at once
    const int to = members[(place + distance) % members.size()];
    for (const int owner : groups_.owners_added_by(to)) {
      for (size_t i = 0; i < blocks_.size(); ++i) sends_.push_back({to, part_of(i, owner)});
    }
  }
}

void TreeExchange::exchange_between_groups() {
  const int ranks = groups_.tree().ranks();
  for (Sums& sums : sums_) sums.blocks = merge_siblings(std::move(sums.blocks));
  std::ranges::sort(sums_, {}, [&](const Sums& sums) {  // the own part first
    return (sums.owner + ranks - rank_) % ranks;
  });
  own_ = std::move(sums_.front().blocks);
  for (size_t i = 1; i < sums_.size(); ++i) {
    for (const BlockSum& sum : sums_[i].blocks) sends_.push_back({sums_[i].owner, sum.values});
  }
  for (size_t group = 0; group < groups_.count(); ++group) {
    if (group == groups_.group_of(rank_)) continue;
    const int from = groups_.adder(group, rank_);
    for (const TreeBlock& block : groups_.blocks(group))
      own_.push_back({block, receive_from(from), true});
  }
  std::ranges::sort(own_, {}, [](const BlockSum& sum) { return sum.block.first_leaf(); });
}

}  // namespace kessoku::runtime
