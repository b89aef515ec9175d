#pragma once

#include <functional>
#include <span>
#include <vector>

#include "runtime/communication/communicator.h"
#include "runtime/communication/summation_tree.h"

namespace kessoku::runtime {

/// A tensor that is sent to a rank or comes from it. Between two ranks, messages of a round arrive
/// in the order in which they are sent.
struct Message {
  int peer;
  at::Tensor tensor;
};

/// A reduce-scatter along a tree, as rounds of messages between ranks that any transport can carry
/// out. With one host there is one round: each rank sends each part straight to its owner. With
/// several hosts the ranks of each host first add what they have of a part, so that a host's link
/// carries each part once where the host's leaves are one block; what crosses hosts travels as
/// `wire` says.
class TreeExchange {
 public:
  /// As of Communicator::reduce_scatter. `ranks_per_host`: see even_ranks_per_host. `room` is kept
  /// between exchanges of the same size: fresh pages cost as much as the exchange.
  TreeExchange(std::vector<at::Tensor> blocks, at::Tensor part, const SummationTree& tree,
               Wire wire, int rank, int ranks_per_host, std::vector<at::Tensor>& room);

  /// Rounds are to be taken in order.
  size_t rounds() const { return by_host() ? 2 : 1; }
  /// Both ready to be sent and received at once.
  const std::vector<Message>& sends() const { return sends_; }
  const std::vector<Message>& receives() const { return receives_; }
  /// After each round's messages: adds what came. After the last round `part` is the sum.
  void finish_round();

 private:
  bool by_host() const { return per_host_ > 1 && per_host_ < tree_.ranks(); }
  at::Tensor part_of(const at::Tensor& block, int owner) const;
  at::Tensor take_room(at::ScalarType dtype);
  void exchange_directly();
  void exchange_within_host();
  void exchange_between_hosts();

  std::vector<at::Tensor> blocks_;
  at::Tensor part_;
  SummationTree tree_;
  at::ScalarType wire_;
  int rank_, per_host_;
  std::vector<at::Tensor>& room_;
  size_t used_ = 0;
  std::vector<Message> sends_, receives_;
  std::vector<std::vector<BlockSum>> sums_;  ///< within a host, by host of the owner; else one
  size_t round_ = 0;
};

/// How many ranks each host has, if all have the same number and consecutive ranks; else 1, as if
/// each rank were a host. Of each rank: its number on its host, and how many are there. The
/// environment variable KESSOKU_RANKS_PER_HOST says otherwise, for tests.
int even_ranks_per_host(std::span<const int> local_ranks, std::span<const int> local_sizes);

}  // namespace kessoku::runtime
