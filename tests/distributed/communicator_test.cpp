// Run under mpirun with several ranks: every collective against its definition.
#include "runtime/communication/communicator.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <gtest/gtest.h>

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
