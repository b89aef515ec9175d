#include "runtime/communication/tree_exchange.h"

#include <ATen/ops/randn.h>
#include <gmock/gmock.h>

#include <cstdlib>
#include <deque>
#include <map>

#include "base/error.h"
#include "runtime/planning/allocation_tracker.h"
#include "tests/runtime/communication/tree_definition.h"

namespace kessoku::runtime {
namespace {

using Hosts = std::vector<int>;

/// All ranks of an exchange in this process. Messages are there once their rounds are begun.
struct Ranks {
  Ranks(const TreeDefinition& definition, int64_t part_numel, Wire wire, size_t limit)
      : definition(definition), tree(definition.leaves, definition.ranks) {
    for (int64_t leaf = 0; leaf < tree.leaves(); ++leaf)
      leaves.push_back(at::randn({part_numel * tree.ranks()}, at::kFloat));
    stagings.assign(static_cast<size_t>(tree.ranks()), Staging(limit));
    for (int rank = 0; rank < tree.ranks(); ++rank) {
      std::vector<at::Tensor> blocks;
      for (const TreeBlock& block : tree.blocks_of(rank)) {
        std::vector<BlockSum> own;
        for (int64_t i = block.first_leaf(); i < block.first_leaf() + (1 << block.level); ++i)
          own.push_back({{0, i}, leaves[static_cast<size_t>(i)]});
        blocks.push_back(merge_siblings(own).front().values.clone());
      }
      parts.push_back(blocks.back().narrow(0, rank * part_numel, part_numel));
      exchanges.emplace_back(blocks, parts.back(), ExchangeGroups(tree, definition.hosts), wire,
                             rank, stagings[static_cast<size_t>(rank)]);
    }
  }

  void carry_out() {
    const size_t rounds = exchanges.front().rounds();
    for (size_t round = 0; round < rounds; ++round) {
      std::map<std::pair<int, int>, std::deque<at::Tensor>> under_way;
      for (int rank = 0; rank < tree.ranks(); ++rank) {
        TreeExchange& exchange = exchanges[static_cast<size_t>(rank)];
        ASSERT_EQ(exchange.rounds(), rounds);
        exchange.begin_round();
        for (const auto& [to, tensor] : exchange.sends()) {
          under_way[{rank, to}].push_back(tensor);
          bytes[{rank, to}] += static_cast<int64_t>(tensor.nbytes());
        }
      }
      for (int rank = 0; rank < tree.ranks(); ++rank) {
        for (const auto& [from, tensor] : exchanges[static_cast<size_t>(rank)].receives()) {
          std::deque<at::Tensor>& queue = under_way[{from, rank}];
          ASSERT_FALSE(queue.empty());
          ASSERT_EQ(queue.front().scalar_type(), tensor.scalar_type());
          ASSERT_EQ(queue.front().numel(), tensor.numel());
          tensor.copy_(queue.front());
          queue.pop_front();
        }
      }
      for (const auto& [pair, queue] : under_way) ASSERT_TRUE(queue.empty());
      for (TreeExchange& exchange : exchanges) exchange.finish_round();
    }
  }

  int64_t bytes_between(int from, int to) const {
    int64_t sum = 0;
    for (const auto& [pair, count] : bytes) {
      const bool is_so = definition.hosts[static_cast<size_t>(pair.first)] == from &&
                         definition.hosts[static_cast<size_t>(pair.second)] == to;
      if (is_so) sum += count;
    }
    return sum;
  }

  TreeDefinition definition;
  SummationTree tree;
  std::vector<at::Tensor> leaves, parts;
  std::vector<Staging> stagings;
  std::vector<TreeExchange> exchanges;
  std::map<std::pair<int, int>, int64_t> bytes;  ///< from and to
};

const std::vector<Hosts> kShapes = {
    {0},
    {0, 0},
    {0, 1},
    {0, 0, 0},
    {0, 0, 0, 0},        // 1 x 4
    {0, 0, 1, 1},        // 2 x 2
    {0, 1, 2, 3},        // 4 x 1
    {0, 0, 0, 1},        // 3 + 1
    {3, 3, 7, 7, 7},     // 2 + 3
    {0, 1, 0, 1},        // in turn: nothing to add on a host
    {0, 1, 1, 0, 0, 0},  // neither
    {0, 0, 0, 0, 1, 1, 2, 2},
    {0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 2, 3},
};

TEST(TreeExchange, EveryShapeOfHostsGivesWhatTheTreeSaysAndSendsTheLeast) {
  constexpr int64_t kPart = 37;
  for (const Hosts& hosts : kShapes) {
    const auto ranks = static_cast<int>(hosts.size());
    for (const int64_t per_rank : {1, 2, 3, 7}) {
      for (const Wire wire : {Wire::kFloat32, Wire::kBFloat16}) {
        SCOPED_TRACE(fmt::format("hosts {}, {} micro-batches a rank, {}",
                                 testing::PrintToString(hosts), per_rank,
                                 wire == Wire::kFloat32 ? "fp32" : "bf16"));
        const TreeDefinition definition{ranks * per_rank, ranks, hosts};
        Ranks all(definition, kPart, wire, Staging::kLimit);
        const at::Tensor expected =
            definition.sum([&](int64_t leaf) { return all.leaves[static_cast<size_t>(leaf)]; },
                           wire == Wire::kBFloat16);
        all.carry_out();
        for (int rank = 0; rank < ranks; ++rank) {
          EXPECT_TRUE(
              all.parts[static_cast<size_t>(rank)].equal(expected.narrow(0, rank * kPart, kPart)))
              << "rank " << rank;
        }
        const int64_t element = wire == Wire::kFloat32 ? 4 : 2;
        for (const int from : hosts) {
          for (const int to : hosts) {
            if (from == to) continue;
            EXPECT_EQ(all.bytes_between(from, to),
                      definition.parts_between(from, to) * kPart * element)
                << "from host " << from << " to " << to;
          }
        }
      }
    }
  }
}

TEST(TreeExchange, ChunksKeepStagingWithinItsLimitAndChangeNothing) {
  constexpr int64_t kPart = 5000;
  for (const Hosts& hosts : kShapes) {
    const auto ranks = static_cast<int>(hosts.size());
    if (ranks == 1) continue;
    for (const Wire wire : {Wire::kFloat32, Wire::kBFloat16}) {
      SCOPED_TRACE(testing::PrintToString(hosts));
      const TreeDefinition definition{ranks * 3, ranks, hosts};
      const auto needed = static_cast<size_t>(
          staged_bytes({SummationTree(definition.leaves, ranks), definition.hosts}, wire));
      const size_t limit = 2048 * needed;
      Ranks all(definition, kPart, wire, limit);
      const at::Tensor expected =
          definition.sum([&](int64_t leaf) { return all.leaves[static_cast<size_t>(leaf)]; },
                         wire == Wire::kBFloat16);
      EXPECT_GE(all.exchanges.front().rounds(), 3u) << "2048 of 5000 elements at a time";
      const AllocationTracker memory;
      all.carry_out();
      EXPECT_LE(memory.peak(), static_cast<int64_t>(limit) * ranks);
      for (int rank = 0; rank < ranks; ++rank) {
        EXPECT_LE(all.stagings[static_cast<size_t>(rank)].memory().nbytes(), limit);
        EXPECT_TRUE(
            all.parts[static_cast<size_t>(rank)].equal(expected.narrow(0, rank * kPart, kPart)));
      }
    }
  }
}

/// Bytes that a host sends others of so many elements.
double sent_of(int hosts, int per_host, int64_t leaves, int64_t bytes) {
  Hosts of;
  for (int rank = 0; rank < hosts * per_host; ++rank) of.push_back(rank / per_host);
  const ExchangeGroups groups(SummationTree(leaves, hosts * per_host), of);
  int64_t parts = 0;
  for (int rank = 0; rank < per_host; ++rank) parts += groups.load_of(rank).sent;
  return static_cast<double>(parts * bytes) / (hosts * per_host);
}

TEST(ExchangeGroups, FourHostsOfEightSendLessThanHalfOfAnFp32RingInBf16) {
  const double ring = 4.0 * 31 / 32;  // bytes an element: what crosses each link of a ring
  EXPECT_DOUBLE_EQ(sent_of(4, 8, 32, 4), 4 * 24.0 / 32);
  EXPECT_DOUBLE_EQ(sent_of(4, 8, 32, 2), 2 * 24.0 / 32);
  EXPECT_LT(sent_of(4, 8, 32, 2), 0.4 * ring);
  EXPECT_DOUBLE_EQ(sent_of(4, 8, 256, 2), sent_of(4, 8, 32, 2)) << "one block a host";
  EXPECT_DOUBLE_EQ(sent_of(4, 8, 96, 2), 2 * sent_of(4, 8, 32, 2)) << "24 leaves a host: 16 and 8";
}

TEST(ExchangeGroups, MembersAddUpAboutAsMuchEach) {
  const ExchangeGroups groups(SummationTree(32, 32), [] {
    Hosts hosts;
    for (int rank = 0; rank < 32; ++rank) hosts.push_back(rank / 8);
    return hosts;
  }());
  for (int rank = 0; rank < 32; ++rank) {
    const ExchangeLoad load = groups.load_of(rank);
    EXPECT_EQ(groups.owners_added_by(rank).size(), 4u);
    EXPECT_EQ(load.sent_within, 28);
    EXPECT_EQ(load.received_within, 28);
    EXPECT_EQ(load.sent, 3);
    EXPECT_EQ(load.received, 3);
  }
}

TEST(ExchangeGroups, LoadsAreTheMessagesThatAreSent) {
  for (const Hosts& hosts : kShapes) {
    const auto ranks = static_cast<int>(hosts.size());
    const TreeDefinition definition{ranks * 3, ranks, hosts};
    Ranks all(definition, 1, Wire::kFloat32, Staging::kLimit);
    all.carry_out();
    const ExchangeGroups groups(all.tree, hosts);
    for (int rank = 0; rank < ranks; ++rank) {
      int64_t within = 0, between = 0;
      for (const auto& [pair, bytes] : all.bytes) {
        if (pair.first != rank) continue;
        (groups.group_of(pair.second) == groups.group_of(rank) ? within : between) += bytes / 4;
      }
      EXPECT_EQ(groups.load_of(rank).sent_within, within) << testing::PrintToString(hosts);
      EXPECT_EQ(groups.load_of(rank).sent, between) << testing::PrintToString(hosts);
    }
  }
}

TEST(PretendedHosts, AreReadFromTheEnvironment) {
  const auto pretend = [](const char* text, int ranks) {
    ::setenv("KESSOKU_RANKS_PER_HOST", text, 1);
    const auto hosts = pretended_hosts(ranks);
    ::unsetenv("KESSOKU_RANKS_PER_HOST");
    return *hosts;
  };
  EXPECT_FALSE(pretended_hosts(4));
  EXPECT_EQ(pretend("2", 5), (Hosts{0, 0, 1, 1, 2}));
  EXPECT_EQ(pretend("3,1", 6), (Hosts{0, 0, 0, 1, 2, 2}));
  for (const char* wrong : {"", "0", "-1", "two", "2,", ",2", "2;1", "2,x", "99999999999"}) {
    EXPECT_THROW(pretend(wrong, 4), UsageError) << wrong;
    ::unsetenv("KESSOKU_RANKS_PER_HOST");
  }
}

}  // namespace
}  // namespace kessoku::runtime
