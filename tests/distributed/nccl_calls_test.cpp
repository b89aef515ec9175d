// Run under mpirun on the stand-ins: what the communicator asks of streams and NCCL, and in which
// order.
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/ones.h>
#include <gmock/gmock.h>
#include <nccl.h>

#include <fstream>

#include "tests/distributed/mpi_test.h"

namespace kessoku::runtime {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

std::vector<std::string> noted() {
  std::ifstream file(
      fmt::format("{}.{}", std::getenv("KESSOKU_STAND_IN_LOG"), communicator->rank()));
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);) lines.push_back(line);
  return lines;
}

/// What `work` asked for, with "own" for the communicator's stream and "current" for the default
/// one.
template <typename Work>
std::vector<std::string> calls_of(const Work& work) {
  const size_t before = noted().size();
  work();
  std::vector<std::string> lines = noted();
  lines.erase(lines.begin(), lines.begin() + static_cast<std::ptrdiff_t>(before));
  for (std::string& line : lines) {
    const size_t number = line.find("stream=") + 7;
    if (number >= 7)
      line.replace(number, std::string::npos, line[number] == '0' ? "current" : "own");
  }
  return lines;
}

std::string call(const char* name, int64_t count, ncclDataType_t type) {
  return fmt::format("{} count={} type={} stream=own", name, count, static_cast<int>(type));
}

/// The exchange waits on its stream for what the current one was asked for; the host waits for
/// nothing but the end.
auto in_between(const std::string& exchange) {
  return ElementsAre("record stream=current", "wait stream=own", exchange, "record stream=own");
}

at::Tensor ones(int64_t numel) {
  return at::ones({numel}, at::TensorOptions(at::kFloat).device(device));
}

TEST(NcclCalls, SumsOnItsOwnStreamAfterTheCurrentOne) {
  at::Tensor tensor = ones(1000);
  EXPECT_THAT(calls_of([&] { communicator->all_reduce(tensor)->wait(); }),
              in_between(call("all_reduce", 1000, ncclFloat32)));
}

TEST(NcclCalls, CountsParts) {
  const at::Tensor whole = ones(64 * communicator->size());
  at::Tensor part = ones(64), all = ones(64 * communicator->size());
  EXPECT_THAT(calls_of([&] { communicator->all_gather(part, all)->wait(); }),
              in_between(call("all_gather", 64 * 4, ncclInt8)));
  EXPECT_THAT(calls_of([&] { communicator->broadcast(part, 0)->wait(); }),
              in_between(call("broadcast", 64 * 4, ncclInt8)));
}

TEST(NcclCalls, ExchangesPartsInOneGroup) {
  const at::Tensor whole = ones(64 * communicator->size());
  at::Tensor part = ones(64);
  for (const auto& [wire, type] :
       {std::pair(Wire::kFloat32, ncclFloat32), std::pair(Wire::kBFloat16, ncclBfloat16)}) {
    std::vector<std::string> expected{"record stream=current", "wait stream=own", "group_start"};
    const auto with = [&](const char* name, int peer) {
      return fmt::format("{} count=64 type={} peer={} stream=own", name, static_cast<int>(type),
                         peer);
    };
    const int size = communicator->size(), rank = communicator->rank();
    for (int peer = 0; peer < size; ++peer) {
      if (peer != rank) expected.push_back(with("receive", peer));
    }
    for (int distance = 1; distance < size; ++distance)
      expected.push_back(with("send", (rank + distance) % size));
    expected.insert(expected.end(), {"group_end", "record stream=own"});
    EXPECT_EQ(calls_of([&] { communicator->reduce_scatter(whole, part, wire)->wait(); }), expected);
  }
}

TEST(NcclCalls, LeavesHostMemoryToMpi) {
  at::Tensor tensor = at::ones({1000}, at::kDouble);
  EXPECT_THAT(calls_of([&] {
                communicator->all_reduce(tensor)->wait();
                communicator->barrier();
                communicator->broadcast_text("text");
              }),
              IsEmpty());
}

TEST(NcclCalls, SeveralAreUnderWayAtOnceAndEndInOrder) {
  std::vector<at::Tensor> tensors;
  std::vector<std::unique_ptr<Pending>> pending;
  for (int i = 0; i < 5; ++i) tensors.push_back(ones(1000 + i));
  for (at::Tensor& tensor : tensors) pending.push_back(communicator->all_reduce(tensor));
  pending.back()->wait();
  const uint64_t done = communicator->log()->last_done();
  for (size_t i = 0; i < 5; ++i) {
    pending[i]->wait();
    EXPECT_EQ(tensors[i].sum().item<float>(),
              static_cast<float>(tensors[i].numel() * communicator->size()));
  }
  EXPECT_EQ(communicator->log()->last_done(), done) << "the first were done before the last";
  EXPECT_FALSE(communicator->log()->waiting_since());
}

TEST(NcclCalls, BeginsWithoutBlockingAndWithoutSumsThatSwitchesMake) {
  EXPECT_EQ(noted().front(), fmt::format("init ranks={} blocking=0 nvls=0", communicator->size()));
}

TEST(NcclCalls, TakesOnlyWhatItCanMove) {
  at::Tensor half = ones(8).to(at::kHalf), part = ones(3);
  EXPECT_THROW(communicator->all_reduce(half), std::logic_error);
  EXPECT_THROW(communicator->reduce_scatter(ones(4 * communicator->size()), part),
               std::logic_error);
  at::Tensor apart = at::empty({2, 4 * communicator->size()}, at::kFloat).to(device).t();
  EXPECT_THROW(communicator->all_gather(ones(8), apart), std::logic_error);
}

}  // namespace
}  // namespace kessoku::runtime
