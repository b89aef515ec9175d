// A race of the kind that the thread sanitizer is here for: a caller that does not wait for what
// it asked for.
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "runtime/communication/communication_thread.h"

namespace kessoku::runtime {
namespace {

TEST(PlantedRace, IsReported) {
  int64_t exchanged = 0;
  std::atomic<bool> begun = false;
  CommunicationThread thread([] {}, [] {}, std::make_shared<CollectiveLog>());
  const auto pending = thread.ask("planted", sizeof exchanged, [&](const auto&) {
    begun.store(true, std::memory_order_relaxed);
    exchanged = 1;
  });
  // Relaxed: it orders nothing, but no lock is taken between the two accesses.
  while (!begun.load(std::memory_order_relaxed)) std::this_thread::yield();
  EXPECT_LE(exchanged, 1) << "may be 0 or 1";
  pending->wait();
  EXPECT_EQ(exchanged, 1);
}

}  // namespace
}  // namespace kessoku::runtime
