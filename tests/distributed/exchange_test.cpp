// Run under mpirun over hosts that ranks believe in (KESSOKU_RANKS_PER_HOST): what a reduce-scatter
// along the tree gives, and what it really sends to whom. MPI's calls are counted by its profiling
// interface, NCCL's by the stand-in's log.
#define OMPI_SKIP_MPICXX 1
#include <ATen/ops/arange.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>
#include <mpi.h>

#include <fstream>
#include <mutex>

#include "runtime/communication/staging.h"
#include "runtime/planning/allocation_tracker.h"
#include "runtime/planning/network_model.h"
#include "tests/distributed/mpi_test.h"
#include "tests/runtime/communication/tree_definition.h"

namespace {

std::mutex sent_mutex;
std::map<int, int64_t> sent_by_mpi;  ///< bytes, by rank

}  // namespace

extern "C" int MPI_Isend(const void* data, int count, MPI_Datatype type, int to, int tag,
                         MPI_Comm comm, MPI_Request* request) {
  int size = 0;
  MPI_Type_size(type, &size);
  {
    const std::lock_guard lock(sent_mutex);
    sent_by_mpi[to] += static_cast<int64_t>(count) * size;
  }
  return PMPI_Isend(data, count, type, to, tag, comm, request);
}

namespace kessoku::runtime {
namespace {

/// As far as the stand-in's log goes, if there is one.
std::map<int, int64_t> sent_by_nccl() {
  std::map<int, int64_t> sent;
  const char* log = std::getenv("KESSOKU_STAND_IN_LOG");
  if (log == nullptr) return sent;
  std::ifstream file(fmt::format("{}.{}", log, communicator->rank()));
  for (std::string line; std::getline(file, line);) {
    long count = 0;
    int type = 0, peer = 0;
    if (std::sscanf(line.c_str(), "send count=%ld type=%d peer=%d", &count, &type, &peer) != 3)
      continue;
    constexpr int kFloat32 = 7;  // as ncclDataType_t has it
    sent[peer] += count * (type == kFloat32 ? 4 : 2);
  }
  return sent;
}

std::map<int, int64_t> sent_bytes() {
  if (device.is_cuda()) return sent_by_nccl();
  const std::lock_guard lock(sent_mutex);
  return sent_by_mpi;
}

at::Tensor leaf_of(int64_t leaf, int64_t numel) {
  return at::arange(numel, at::kFloat).add(1000 * leaf).mul(0.37).sin();
}

/// What `rank` has, by the definition of the tree: of each of its blocks the sum.
std::vector<at::Tensor> blocks_of(const SummationTree& tree, int rank, int64_t numel) {
  std::vector<at::Tensor> blocks;
  for (const TreeBlock& block : tree.blocks_of(rank)) {
    const TreeDefinition whole{int64_t{1} << block.level, 1, {0}};
    blocks.push_back(
        whole.sum([&](int64_t i) { return leaf_of(block.first_leaf() + i, numel); }, false)
            .to(device));
  }
  return blocks;
}

TEST(Exchange, GivesWhatTheTreeSaysAndSendsTheLeastBetweenHosts) {
  const int ranks = communicator->size(), rank = communicator->rank();
  const bool counted = device.is_cpu() || std::getenv("KESSOKU_STAND_IN_LOG") != nullptr;
  constexpr int64_t kPart = 1000;
  for (const int64_t per_rank : {1, 2, 3, 7}) {
    for (const Wire wire : {Wire::kFloat32, Wire::kBFloat16}) {
      SCOPED_TRACE(fmt::format("{} leaves a rank, wire {}", per_rank, static_cast<int>(wire)));
      const TreeDefinition definition{ranks * per_rank, ranks, communicator->hosts()};
      const SummationTree tree(ranks * per_rank, ranks);
      const std::vector<at::Tensor> blocks = blocks_of(tree, rank, ranks * kPart);
      at::Tensor part = blocks.back().narrow(0, rank * kPart, kPart);
      const std::map<int, int64_t> before = sent_bytes();
      communicator->reduce_scatter(blocks, part, tree, wire)->wait();
      const std::map<int, int64_t> after = sent_bytes();

      const at::Tensor expected = definition.sum(
          [&](int64_t leaf) { return leaf_of(leaf, ranks * kPart); }, wire == Wire::kBFloat16);
      EXPECT_TRUE(part.to(at::kCPU).equal(expected.narrow(0, rank * kPart, kPart)));

      at::Tensor sent = at::zeros({ranks, ranks}, at::kLong);
      for (const auto& [peer, bytes] : after)
        sent[rank][peer].fill_(bytes - (before.contains(peer) ? before.at(peer) : 0));
      communicator->all_reduce(sent)->wait();
      if (!counted) continue;
      for (int from = 0; from < ranks; ++from) {
        for (int to = 0; to < ranks; ++to) {
          const std::vector<int>& hosts = definition.hosts;
          const int host = hosts[static_cast<size_t>(from)], other = hosts[static_cast<size_t>(to)];
          if (host == other) continue;
          int64_t between = 0;
          for (int i = 0; i < ranks; ++i) {
            for (int j = 0; j < ranks; ++j) {
              if (hosts[static_cast<size_t>(i)] == host && hosts[static_cast<size_t>(j)] == other)
                between += sent[i][j].item<int64_t>();
            }
          }
          EXPECT_EQ(between, definition.parts_between(host, other) * kPart *
                                 (wire == Wire::kFloat32 ? 4 : 2))
              << "from host " << host << " to " << other;
        }
      }
    }
  }
}

/// What the plan says leaves a host is what does.
TEST(Exchange, SendsWhatThePlanSays) {
  const int ranks = communicator->size(), rank = communicator->rank();
  const std::vector<int> hosts = communicator->hosts();
  const auto on_first = static_cast<int>(std::ranges::count(hosts, 0));
  for (int i = 0; i < ranks; ++i) {
    if (hosts[static_cast<size_t>(i)] != i / on_first)
      GTEST_SKIP() << "the plan knows hosts with as many ranks each, but the last";
  }
  if (device.is_cuda() && std::getenv("KESSOKU_STAND_IN_LOG") == nullptr)
    GTEST_SKIP() << "real NCCL counts nothing";
  const int64_t numel = int64_t{ranks} * 1000;
  const NetworkModel network{.link = 1, .ranks_per_host = on_first};
  for (const int64_t per_rank : {1, 3}) {
    for (const auto& [wire, bytes] :
         {std::pair(Wire::kFloat32, 4), std::pair(Wire::kBFloat16, 2)}) {
      const SummationTree tree(ranks * per_rank, ranks);
      const std::vector<at::Tensor> blocks = blocks_of(tree, rank, numel);
      at::Tensor part = blocks.back().narrow(0, rank * 1000, 1000);
      const std::map<int, int64_t> before = sent_bytes();
      communicator->reduce_scatter(blocks, part, tree, wire)->wait();
      at::Tensor out = at::zeros({ranks}, at::kLong);  // of hosts
      const auto host = static_cast<size_t>(hosts[static_cast<size_t>(rank)]);
      for (const auto& [peer, sent] : sent_bytes()) {
        if (static_cast<size_t>(hosts[static_cast<size_t>(peer)]) == host) continue;
        out[static_cast<int64_t>(host)] += sent - (before.contains(peer) ? before.at(peer) : 0);
      }
      communicator->all_reduce(out)->wait();
      EXPECT_DOUBLE_EQ(out.max().item<double>(),
                       network.tree_exchange(tree, bytes).bytes_out(static_cast<double>(numel)));
    }
  }
}

TEST(Exchange, AnyNumberUnderWayShareOneStaging) {
  if (device.is_cpu()) GTEST_SKIP() << "MPI's are carried out one by one";
  const int ranks = communicator->size();
  const int64_t part_numel = int64_t{6} << 20;  // 24 MiB
  at::Tensor whole = at::zeros({ranks * part_numel}, at::TensorOptions(at::kFloat).device(device));
  whole.add_(1);
  at::Tensor part = whole.narrow(0, communicator->rank() * part_numel, part_numel);
  const AllocationTracker memory;
  std::vector<std::unique_ptr<Pending>> pending;
  for (int i = 0; i < 6; ++i) pending.push_back(communicator->reduce_scatter(whole, part));
  for (const auto& exchange : pending) exchange->wait();
  EXPECT_LE(memory.peak(), static_cast<int64_t>(Staging::kLimit));
  EXPECT_TRUE(ranks == 1 || memory.peak() >= part_numel * 4) << "was it counted?";
  EXPECT_EQ(part[0].item<float>(), static_cast<float>(1 + 6 * (ranks - 1)));
}

}  // namespace
}  // namespace kessoku::runtime
