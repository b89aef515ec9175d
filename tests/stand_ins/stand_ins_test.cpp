// What stands in for GPUs and NCCL refuses what real ones would refuse, or do wrong without a word.
// Run with the stand-ins in LD_LIBRARY_PATH and KESSOKU_STAND_IN_MEMORY=67108864.
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/DeviceGuard.h>
#include <c10/core/Event.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <gmock/gmock.h>
#include <nccl.h>

#include <csignal>
#include <thread>

#include "runtime/host/device.h"

namespace kessoku::runtime {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

constexpr int64_t kNumel = 1000;

class StandIns : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    choose_device("cuda");
  }
  void TearDown() override {
    if (!IsSkipped()) guard.synchronizeStream(guard.getDefaultStream(device));
  }

  at::Tensor ones(int64_t numel = kNumel) const {
    return at::ones({numel}, at::TensorOptions(at::kFloat).device(device));
  }
  static at::Tensor pinned() {
    return at::empty({kNumel}, at::TensorOptions(at::kFloat).pinned_memory(true)).fill_(1);
  }
  c10::Stream other_stream() const { return guard.getStreamFromGlobalPool(device, true); }
  c10::Event recorded(c10::Stream stream) const {
    c10::Event event(at::kCUDA);
    event.record(stream);
    return event;
  }

  const at::Device device{at::kCUDA, 0};
  const c10::impl::VirtualGuardImpl guard{at::kCUDA};
};

TEST_F(StandIns, HideTheirMemoryFromTheHost) {
  const at::Tensor tensor = ones();
  EXPECT_EXIT(std::printf("%f", *static_cast<const volatile float*>(tensor.const_data_ptr())),
              testing::KilledBySignal(SIGSEGV), "");
  EXPECT_EXIT(*static_cast<volatile float*>(tensor.mutable_data_ptr()) = 1,
              testing::KilledBySignal(SIGSEGV), "");
  EXPECT_EQ(tensor.sum().item<float>(), kNumel);
}

TEST_F(StandIns, BeginWithAnythingInTheirMemory) {
  const at::Tensor tensor = at::empty({kNumel}, at::TensorOptions(at::kFloat).device(device));
  EXPECT_TRUE(tensor.isnan().all().item<bool>());
}

TEST_F(StandIns, RefuseTensorsOfTheHostAmongTheirOwn) {
  EXPECT_THROW(ones().add_(at::ones({kNumel})), c10::Error);
}

TEST_F(StandIns, RefuseThreadsThatChoseNoDevice) {
  const at::Tensor tensor = ones();
  const auto unchosen = HasSubstr("without having chosen one");
  std::thread([&] {
    const auto computes = [&] { tensor.fill_(1); };
    EXPECT_THAT(computes, ThrowsMessage<c10::Error>(unchosen));
    EXPECT_THAT([&] { recorded(guard.getDefaultStream(device)); },
                ThrowsMessage<c10::Error>(unchosen));
    EXPECT_THAT([&] { synchronize(device); }, ThrowsMessage<c10::Error>(unchosen));
    {
      const c10::DeviceGuard chosen(device);
      EXPECT_NO_THROW(computes());
    }
    EXPECT_THAT(computes, ThrowsMessage<c10::Error>(unchosen));
    guard.setDevice(device);
    EXPECT_NO_THROW(computes());
  }).join();
}

TEST_F(StandIns, RefuseStreamsThatDoNotWaitForEachOther) {
  const at::Tensor tensor = ones();
  const c10::Stream stream = other_stream(), current = guard.getDefaultStream(device);
  const auto add = [&](c10::Stream on) {
    const c10::StreamGuard chosen(on);
    tensor.add_(1);
  };
  recorded(current).block(stream);
  add(stream);
  EXPECT_THAT([&] { tensor.sum(); },
              ThrowsMessage<c10::Error>(HasSubstr("stream 0 reads memory that stream")));
  EXPECT_NO_THROW(ones().sum()) << "other memory";
  recorded(stream).block(current);
  EXPECT_EQ(tensor.sum().item<float>(), 2 * kNumel);
  add(current);
  EXPECT_THAT([&] { add(stream); },
              ThrowsMessage<c10::Error>(HasSubstr("memory that stream 0 writes")));
  recorded(current).block(stream);
  EXPECT_NO_THROW(add(stream));
  guard.synchronizeStream(stream);
  EXPECT_NO_THROW(add(current)) << "the host has waited";
}

TEST_F(StandIns, AreNotDoneWhenTheyWereAsked) {
  const at::Tensor tensor = ones().add_(1);
  const c10::Event event = recorded(guard.getDefaultStream(device));
  EXPECT_FALSE(event.query());
  event.synchronize();
  EXPECT_TRUE(event.query());
}

TEST_F(StandIns, ReadMemoryOfTheHostLate) {
  const auto early = HasSubstr("was freed or changed too early");
  at::Tensor source = pinned(), target = source.to(device, /*non_blocking=*/true);
  source[0] = 2;
  EXPECT_THAT([&] { synchronize(device); }, ThrowsMessage<c10::Error>(early));
  target = source.to(device, /*non_blocking=*/true);
  source.reset();
  EXPECT_THAT([&] { synchronize(device); }, ThrowsMessage<c10::Error>(early));
  source = pinned();
  target = source.to(device, /*non_blocking=*/true);
  EXPECT_NO_THROW(synchronize(device));
  source[0] = 2;
  EXPECT_EQ(target.sum().item<float>(), kNumel);
}

TEST_F(StandIns, WriteMemoryOfTheHostLate) {
  const at::Tensor target = pinned();
  target.copy_(ones().add_(1), /*non_blocking=*/true);
  EXPECT_TRUE(target.isnan().all().item<bool>());
  synchronize(device);
  EXPECT_EQ(target.sum().item<float>(), 2 * kNumel);
}

TEST_F(StandIns, HaveSoMuchMemoryAndKnowTheMostThatWasUsed) {
  auto* allocator = c10::getDeviceAllocator(at::kCUDA);
  const auto bytes = [&] { return allocator->getDeviceStats(0).allocated_bytes[0]; };
  const int64_t before = bytes().current;
  allocator->resetPeakStats(0);
  constexpr int64_t kMebi = int64_t{1} << 18;  // f32
  { const at::Tensor large = ones(40 * kMebi); }
  const at::Tensor small = ones(kMebi);
  EXPECT_EQ(bytes().current - before, 4 * kMebi);
  EXPECT_EQ(bytes().peak - before, 160 * kMebi);
  EXPECT_THROW(ones(64 * kMebi), c10::OutOfMemoryError);
  EXPECT_EQ(allocator->getMemoryInfo(0).second, size_t{64} << 20);
  EXPECT_NO_THROW(ones(40 * kMebi)) << "an allocation that failed breaks nothing";
}

TEST_F(StandIns, StayBroken) {
  const auto breaks = [&] {
    const auto fails = [](const auto& call) {
      try {
        call();
        return false;
      } catch (const c10::AcceleratorError& error) {
        return std::string(error.what()).find("device-side assert triggered") != std::string::npos;
      }
    };
    const at::Tensor table = ones(), late = at::full({3}, kNumel, table.options().dtype(at::kLong));
    const c10::Event event = recorded(guard.getDefaultStream(device));
    const bool all = fails([&] { table.index_select(0, late); }) && fails([&] { ones(); }) &&
                     fails([&] { table.cpu(); }) && fails([&] { event.query(); }) &&
                     fails([&] { event.synchronize(); }) && fails([&] { synchronize(device); }) &&
                     fails([&] { recorded(guard.getDefaultStream(device)); });
    std::_Exit(all ? 0 : 1);
  };
  EXPECT_EXIT(breaks(), testing::ExitedWithCode(0), "");
  EXPECT_THROW(ones().add(ones(3)), c10::Error);
  EXPECT_NO_THROW(ones()) << "what the host finds out breaks nothing";
}

TEST_F(StandIns, AnswerInProgressFirst) {
  ncclUniqueId id{};
  ncclGetUniqueId(&id);
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 0;
  ncclComm_t comm = nullptr;
  const auto end = [&] {
    ncclResult_t state = ncclInProgress;
    for (int polls = 0; state == ncclInProgress; ++polls) {
      EXPECT_LT(polls, 10);
      ncclCommGetAsyncError(comm, &state);
    }
    return state;
  };
  std::thread([&] {
    EXPECT_EQ(ncclCommInitRankConfig(&comm, 1, id, 0, &config), ncclInvalidUsage)
        << "a thread that chose no device";
  }).join();
  ASSERT_EQ(ncclCommInitRankConfig(&comm, 1, id, 0, &config), ncclInProgress);
  EXPECT_EQ(end(), ncclSuccess);

  const at::Tensor tensor = ones();
  const c10::Stream stream = other_stream();
  const auto reduce = [&] {
    return ncclAllReduce(tensor.const_data_ptr(), tensor.mutable_data_ptr(), kNumel, ncclFloat32,
                         ncclSum, comm, static_cast<cudaStream_t>(stream.native_handle()));
  };
  EXPECT_EQ(reduce(), ncclInvalidUsage) << "nobody has waited for the tensor";
  recorded(guard.getDefaultStream(device)).block(stream);
  EXPECT_EQ(reduce(), ncclInProgress);
  EXPECT_EQ(reduce(), ncclInvalidArgument) << "before the first one is asked for";
  EXPECT_EQ(end(), ncclSuccess);
  EXPECT_EQ(reduce(), ncclInProgress);
  EXPECT_EQ(end(), ncclSuccess);
  EXPECT_THROW(tensor.sum(), c10::Error) << "nobody has waited for the exchange";
  guard.synchronizeStream(stream);
  EXPECT_EQ(tensor.sum().item<float>(), kNumel);
  ncclCommFinalize(comm);
  EXPECT_EQ(end(), ncclSuccess);
  ncclCommDestroy(comm);
}

}  // namespace
}  // namespace kessoku::runtime
