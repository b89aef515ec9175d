#include "runtime/communication/tree_exchange.h"

#include <ATen/ops/empty.h>

#include <cstdlib>

namespace kessoku::runtime {

TreeExchange::TreeExchange(std::vector<at::Tensor> blocks, at::Tensor part,
                           const SummationTree& tree, Wire wire, int rank, int ranks_per_host,
                           std::vector<at::Tensor>& room)
    : blocks_(std::move(blocks)),
      part_(std::move(part)),
      tree_(tree),
      wire_(wire == Wire::kBFloat16 ? at::kBFloat16 : at::kFloat),
      rank_(rank),
      per_host_(ranks_per_host),
      room_(room) {
  if (by_host()) {
    exchange_within_host();
  } else {
    exchange_directly();
  }
}

void TreeExchange::finish_round() {
  if (by_host() && round_++ == 0) {
    for (std::vector<BlockSum>& sums : sums_) sums = merge_siblings(std::move(sums));
    exchange_between_hosts();
    return;
  }
  sum_blocks(std::move(sums_.front()), part_);
}

at::Tensor TreeExchange::part_of(const at::Tensor& block, int owner) const {
  return block.narrow(0, owner * part_.numel(), part_.numel());
}

at::Tensor TreeExchange::take_room(at::ScalarType dtype) {
  if (used_ == room_.size()) room_.emplace_back();
  at::Tensor& room = room_[used_++];
  if (!room.defined() || room.numel() != part_.numel() || room.scalar_type() != dtype)
    room = at::empty({part_.numel()}, part_.options().dtype(dtype));
  return room;
}

void TreeExchange::exchange_directly() {
  const int ranks = tree_.ranks();
  std::vector<BlockSum>& sums = sums_.emplace_back();
  for (int rank = 0; rank < ranks; ++rank) {
    const std::vector<TreeBlock> places = tree_.blocks_of(rank);
    for (size_t i = 0; i < places.size(); ++i) {
      if (rank == rank_) {
        sums.push_back({places[i], part_of(blocks_[i], rank_)});
      } else {
        receives_.push_back({rank, take_room(wire_)});
        sums.push_back({places[i], receives_.back().tensor, true});
      }
    }
  }
  for (int distance = 1; distance < ranks; ++distance) {  // not all to the same one at once
    const int to = (rank_ + distance) % ranks;
    for (const at::Tensor& block : blocks_) sends_.push_back({to, part_of(block, to).to(wire_)});
  }
}

/// A rank adds up the host's blocks of its own part and of those of the other hosts' ranks of the
/// same number.
void TreeExchange::exchange_within_host() {
  const int hosts = tree_.ranks() / per_host_, own = rank_ % per_host_;
  const int first = rank_ - own;
  for (int host = 0; host < hosts; ++host) {
    std::vector<BlockSum>& sums = sums_.emplace_back();
    for (int rank = first; rank < first + per_host_; ++rank) {
      const std::vector<TreeBlock> places = tree_.blocks_of(rank);
      for (size_t i = 0; i < places.size(); ++i) {
        if (rank == rank_) {
          sums.push_back({places[i], part_of(blocks_[i], host * per_host_ + own)});
        } else {
          receives_.push_back({rank, take_room(at::kFloat)});
          sums.push_back({places[i], receives_.back().tensor, true});
        }
      }
    }
  }
  for (int host = 0; host < hosts; ++host) {
    for (int distance = 1; distance < per_host_; ++distance) {
      const int to = (own + distance) % per_host_;
      for (const at::Tensor& block : blocks_)
        sends_.push_back({first + to, part_of(block, host * per_host_ + to)});
    }
  }
}

void TreeExchange::exchange_between_hosts() {
  const int hosts = tree_.ranks() / per_host_, own_host = rank_ / per_host_;
  const SummationTree of_hosts(tree_.leaves(), hosts);
  sends_.clear();
  receives_.clear();
  for (int distance = 1; distance < hosts; ++distance) {
    const int host = (own_host + distance) % hosts;
    for (const BlockSum& sum : sums_[static_cast<size_t>(host)])
      sends_.push_back({host * per_host_ + rank_ % per_host_, sum.values.to(wire_)});
  }
  std::vector<BlockSum> all;
  for (int host = 0; host < hosts; ++host) {
    if (host == own_host) {
      for (BlockSum& sum : sums_[static_cast<size_t>(host)]) all.push_back(std::move(sum));
      continue;
    }
    for (const TreeBlock& place : of_hosts.blocks_of(host)) {
      receives_.push_back({host * per_host_ + rank_ % per_host_, take_room(wire_)});
      all.push_back({place, receives_.back().tensor, true});
    }
  }
  sums_ = {std::move(all)};
}

int even_ranks_per_host(std::span<const int> local_ranks, std::span<const int> local_sizes) {
  if (const char* told = std::getenv("KESSOKU_RANKS_PER_HOST")) return std::atoi(told);
  const int size = local_sizes.front();
  for (size_t rank = 0; rank < local_ranks.size(); ++rank) {
    const bool consecutive = local_ranks[rank] == static_cast<int>(rank) % size;
    if (local_sizes[rank] != size || !consecutive) return 1;
  }
  return size;
}

}  // namespace kessoku::runtime
