#pragma once

#include <utility>
#include <vector>

#include "runtime/communication/communicator.h"
#include "runtime/communication/exchange_groups.h"
#include "runtime/communication/staging.h"

namespace kessoku::runtime {

/// A tensor that is sent to a rank or comes from it. Between two ranks, messages arrive in the
/// order in which they are sent.
struct Message {
  int peer;
  at::Tensor tensor;
};

/// A reduce-scatter along a tree, as rounds of messages between ranks that any transport can carry
/// out: within groups and then between them (see ExchangeGroups), for one chunk of the parts after
/// the other, so that messages fit into `staging`.
///
/// With Wire::kBFloat16 what a rank has and all sums but the last are rounded to bf16, wherever
/// they are made; so hosts make no difference to the result.
class TreeExchange {
 public:
  /// As of Communicator::reduce_scatter. `staging` must outlive it, and serves no other meanwhile.
  TreeExchange(std::vector<at::Tensor> blocks, at::Tensor part, ExchangeGroups groups, Wire wire,
               int rank, Staging& staging);

  /// The same number on all ranks.
  size_t rounds() const { return chunks_ * (groups_.any_adds() ? 2 : 1); }
  /// Rounds are to be taken in order: begin, messages (all at once), finish. After the last one
  /// `part` is the sum.
  void begin_round();
  const std::vector<Message>& sends() const { return sends_; }
  const std::vector<Message>& receives() const { return receives_; }
  /// Of the round's messages.
  CollectiveLog::Traffic traffic() const;
  void finish_round();

 private:
  /// What this rank's group has of a part.
  struct Sums {
    int owner;
    std::vector<BlockSum> blocks;
  };
  void begin_chunk();
  at::Tensor part_of(size_t block, int owner) const;
  at::Tensor receive_from(int peer);
  void exchange_within_group();
  void exchange_between_groups();

  std::vector<at::Tensor> blocks_;
  at::Tensor part_;
  ExchangeGroups groups_;
  at::ScalarType wire_;
  int rank_;
  Staging& staging_;
  int64_t chunk_;  ///< elements of a part
  size_t chunks_, round_ = 0;
  int64_t begin_ = 0, numel_ = 0;    ///< of the chunk under way
  std::vector<at::Tensor> rounded_;  ///< blocks in bf16, a row a part
  std::vector<Message> sends_, receives_;
  std::vector<Sums> sums_;     ///< of the parts that this rank adds up
  std::vector<BlockSum> own_;  ///< all that there is of the own part
};

/// Bytes that an exchange needs for each element of a part: the most that a rank does.
int64_t staged_bytes(const ExchangeGroups& groups, Wire wire);

}  // namespace kessoku::runtime
