#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "runtime/communication/summation_tree.h"

namespace kessoku::runtime {

/// What a rank sends and receives when parts are summed along a tree: messages, each of a part of
/// a block.
struct ExchangeLoad {
  int64_t sent_within, received_within;  ///< to and from ranks of its group
  int64_t sent, received;                ///< to and from other groups, after that
};

/// The two levels of a reduce-scatter along a tree. First the ranks of a host add up what they have
/// of a part, then the hosts send their sums to the part's owner: so a host's link carries each
/// part once where the host's leaves are one block. A group is the ranks of a host whose blocks
/// become fewer by that. Other ranks are groups of their own, and send straight to owners; so are
/// all ranks of a single host.
///
/// Each part is added up by one member of each group: its owner, or one that depends on the owner's
/// number, so that the members do about as much each.
class ExchangeGroups {
 public:
  /// `hosts`: of each rank, the number of its host. Hosts may have any ranks.
  ExchangeGroups(const SummationTree& tree, std::span<const int> hosts);

  const SummationTree& tree() const { return tree_; }
  size_t count() const { return groups_.size(); }
  /// Whether there are two levels.
  bool any_adds() const { return std::ssize(groups_) < tree_.ranks(); }
  size_t group_of(int rank) const { return group_of_[static_cast<size_t>(rank)]; }
  const std::vector<int>& members(size_t group) const { return groups_[group].members; }
  /// What a group sends of a part, in order of leaves.
  const std::vector<TreeBlock>& blocks(size_t group) const { return groups_[group].blocks; }
  /// The member that adds up the part of rank `owner`.
  int adder(size_t group, int owner) const;
  /// The owners of the parts that `rank` adds up, ascending; itself among them.
  std::vector<int> owners_added_by(int rank) const;
  ExchangeLoad load_of(int rank) const;

 private:
  struct Group {
    std::vector<int> members;
    std::vector<TreeBlock> blocks;
    int64_t unmerged;  ///< blocks of its members together
  };
  int64_t parts_added_by(int rank) const;

  SummationTree tree_;
  std::vector<Group> groups_;
  std::vector<size_t> group_of_;  ///< by rank
  int64_t blocks_ = 0;            ///< of all groups
};

/// Hosts that ranks are to believe in, for tests: the environment variable KESSOKU_RANKS_PER_HOST
/// has the sizes of consecutive hosts, over and over ("2", "3,1"). None if it is not set; throws
/// UsageError if it is something else.
std::optional<std::vector<int>> pretended_hosts(int ranks);

}  // namespace kessoku::runtime
