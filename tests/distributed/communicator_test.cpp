// Run under mpirun with several ranks: every collective against its definition.
#include "runtime/communication/communicator.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/distributed/mpi_test.h"

namespace kessoku::runtime {
namespace {

at::TensorOptions numbers() { return at::TensorOptions(at::kFloat).device(device); }

TEST(Communicator, AllReduceSumsOverRanks) {
  for (at::ScalarType type : {at::kFloat, at::kDouble, at::kLong}) {
    at::Tensor tensor =
        at::full({1000}, communicator->rank() + 1, at::TensorOptions(type).device(device));
    communicator->all_reduce(tensor)->wait();
    const int size = communicator->size();
    EXPECT_EQ(tensor.sum().item<int64_t>(), 1000 * size * (size + 1) / 2);
  }
}

TEST(Communicator, ReduceScatterGivesEachRankTheSumOfItsPart) {
  const int64_t size = communicator->size();
  const at::Tensor whole = at::arange(size * 64, numbers()).mul_(communicator->rank() + 1);
  at::Tensor part = at::empty({64}, numbers());
  communicator->reduce_scatter(whole, part)->wait();
  const at::Tensor expected = at::arange(size * 64, numbers())
                                  .mul_(static_cast<double>(size * (size + 1)) / 2)
                                  .narrow(0, communicator->rank() * 64, 64);
  EXPECT_TRUE(part.equal(expected));

  at::Tensor own = whole.narrow(0, communicator->rank() * 64, 64);  // in place
  communicator->reduce_scatter(whole, own)->wait();
  EXPECT_TRUE(own.equal(expected));
}

TEST(Communicator, AllGatherCollectsPartsAlsoInPlace) {
  const int64_t size = communicator->size();
  at::Tensor whole = at::full({size * 16}, -1, numbers());
  at::Tensor own = whole.narrow(0, communicator->rank() * 16, 16);
  own.fill_(communicator->rank());
  communicator->all_gather(own, whole)->wait();
  for (int64_t rank = 0; rank < size; ++rank) {
    EXPECT_TRUE(whole.narrow(0, rank * 16, 16).equal(at::full({16}, rank, numbers())));
  }
  at::Tensor elsewhere = at::full({size * 16}, -1, numbers());
  communicator->all_gather(own.clone(), elsewhere)->wait();
  EXPECT_TRUE(elsewhere.equal(whole));
}

TEST(Communicator, BroadcastTextReachesEveryRank) {
  for (const std::string& text :
       {std::string(), std::string("結束 band"), std::string(100'000, 'x')}) {
    EXPECT_EQ(communicator->broadcast_text(communicator->rank() == 0 ? text : "other"), text);
  }
}

TEST(Communicator, AllGatherTextBringsTextsOfAnyLength) {
  const auto text_of = [](int rank) {
    return std::string(static_cast<size_t>(13 * rank), 'a') + "é";
  };
  const std::vector<std::string> texts =
      communicator->all_gather_text(text_of(communicator->rank()));
  ASSERT_EQ(texts.size(), static_cast<size_t>(communicator->size()));
  for (int rank = 0; rank < communicator->size(); ++rank)
    EXPECT_EQ(texts[static_cast<size_t>(rank)], text_of(rank));
  for (const std::string& text : communicator->all_gather_text("")) EXPECT_EQ(text, "");
}

/// Of all operations since `before`, over all ranks.
CollectiveLog::Traffic traffic_since(const CollectiveLog::Totals& before) {
  at::Tensor sums = at::zeros({2}, at::kLong);
  auto* bytes = sums.data_ptr<int64_t>();
  for (const auto& [name, now] : communicator->log()->totals().traffic) {
    const auto earlier = before.traffic.find(name);
    const bool is_new = earlier == before.traffic.end();
    bytes[0] += now.sent - (is_new ? 0 : earlier->second.sent);
    bytes[1] += now.received - (is_new ? 0 : earlier->second.received);
  }
  communicator->all_reduce(sums)->wait();
  return {bytes[0], bytes[1]};
}

TEST(Communicator, CountsTheBytesThatAreSentAndReceived) {
  const int64_t size = communicator->size(), numel = 64, part_bytes = 4 * numel;
  const auto require = [&](const char* operation, int64_t expected, const auto& exchange) {
    const CollectiveLog::Totals before = communicator->log()->totals();
    exchange();
    const CollectiveLog::Traffic moved = traffic_since(before);
    EXPECT_EQ(moved.sent, expected) << operation;
    EXPECT_EQ(moved.received, expected) << operation;
  };
  at::Tensor whole = at::ones({size * numel}, numbers()), part = at::empty({numel}, numbers());
  require("all-gather", size * (size - 1) * part_bytes,
          [&] { communicator->all_gather(part, whole)->wait(); });
  require("all-reduce", 2 * size * (size - 1) * part_bytes,
          [&] { communicator->all_reduce(whole)->wait(); });
  require("broadcast", (size - 1) * part_bytes, [&] { communicator->broadcast(part, 0)->wait(); });
  const std::vector<int> hosts = communicator->hosts();
  if (std::ranges::count(hosts, hosts[0]) != size) return;  // those of a host add up first
  // Each rank sends each other its part, in bf16 half as many bytes.
  for (const auto& [wire, share] : {std::pair{Wire::kFloat32, 1}, std::pair{Wire::kBFloat16, 2}}) {
    require("reduce-scatter", size * (size - 1) * part_bytes / share,
            [&] { communicator->reduce_scatter(whole, part, wire)->wait(); });
  }
}

TEST(Communicator, RefusesPartsThatDoNotMakeTheWhole) {
  at::Tensor part = at::empty({3}, numbers());
  EXPECT_THROW(communicator->reduce_scatter(at::empty({communicator->size() * 4}, numbers()), part),
               std::logic_error);
}

TEST(Communicator, CountsTheRanksOfThisHost) {
  EXPECT_EQ(communicator->local_size(), communicator->size());
  EXPECT_EQ(communicator->local_rank(), communicator->rank());
  EXPECT_EQ(communicator->hosts(), std::vector<int>(static_cast<size_t>(communicator->size()), 0));
}

}  // namespace
}  // namespace kessoku::runtime
