// Devices, streams and events as LibTorch asks for them. All streams are late: events of the
// default one are reached a little after the host has asked for them.
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <c10/util/Exception.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <future>
#include <memory>
#include <thread>
#include <utility>

#include "tests/stand_ins/health.h"
#include "tests/stand_ins/host_waits.h"
#include "tests/stand_ins/thread_device.h"

namespace kessoku::stand_ins {

namespace {

using Time = std::chrono::steady_clock::time_point;
constexpr auto kLag = std::chrono::microseconds(300);  // of the default stream behind the host

struct ThreadDevice {
  c10::DeviceIndex index = 0;
  bool chosen = false;
  int guards = 0;  ///< that chose it for a thread which had not
  std::array<c10::StreamId, 64> streams{};
};
thread_local ThreadDevice thread_device;

size_t place(c10::DeviceIndex device) { return static_cast<unsigned char>(device); }

/// What was recorded last.
struct Event {
  std::shared_future<Time> reached;
  Clock clock{};
  bool is_timed = false;
  bool asked = false;

  bool is_done() const {
    return !reached.valid() ||
           reached.wait_for(std::chrono::seconds(0)) == std::future_status::ready;
  }
};

c10::Stream stream_of(c10::Device device, c10::StreamId id) {
  return c10::Stream(c10::Stream::UNSAFE, device, id);
}

class GuardImpl final : public c10::impl::DeviceGuardImplInterface {
 public:
  c10::DeviceType type() const override { return c10::kCUDA; }
  /// A guard's beginning; its end is `uncheckedSetDevice`.
  c10::Device exchangeDevice(c10::Device device) const override {
    const c10::Device before = getDevice();
    if (!thread_device.chosen) ++thread_device.guards;
    thread_device.index = device.index();
    return before;
  }
  c10::Device getDevice() const override { return {c10::kCUDA, thread_device.index}; }
  void setDevice(c10::Device device) const override {
    thread_device.index = device.index();
    thread_device.chosen = true;
    thread_device.guards = 0;
  }
  void uncheckedSetDevice(c10::Device device) const noexcept override {
    thread_device.index = device.index();
    if (thread_device.guards > 0) --thread_device.guards;
  }
  c10::Stream getStream(c10::Device device) const override {
    return stream_of(device, thread_device.streams[place(device.index())]);
  }
  c10::Stream getDefaultStream(c10::Device device) const override { return stream_of(device, 0); }
  c10::Stream getStreamFromGlobalPool(c10::Device device, bool) const override {
    static std::atomic<int> next = 0;
    const int id = 1 + next++ % kStreams;
    stream_order().begin(id);
    return stream_of(device, id);
  }
  c10::Stream exchangeStream(c10::Stream stream) const override {
    const c10::Stream before = getStream(stream.device());
    thread_device.streams[place(stream.device_index())] = stream.id();
    return before;
  }
  void* getStreamNativeHandle(const c10::Stream stream) const override {
    return stream.id() == 0 ? nullptr : &stand_ins::stream(static_cast<int>(stream.id()));
  }

  void record(void** event, const c10::Stream& stream, const c10::DeviceIndex,
              const c10::EventFlag flag) const override {
    touch_device();
    const auto id = static_cast<int>(stream.id());
    note("record stream=" + std::to_string(id));
    if (*event == nullptr) *event = new Event;
    auto& recorded = *static_cast<Event*>(*event);
    const auto reached = std::make_shared<std::promise<Time>>();
    recorded.reached = reached->get_future().share();
    recorded.clock = stream_order().clock_of(id);
    recorded.asked = false;
    recorded.is_timed = flag == c10::EventFlag::BACKEND_DEFAULT;
    if (id != 0) {
      stand_ins::stream(id).enqueue(
          [reached] { reached->set_value(std::chrono::steady_clock::now()); });
      return;
    }
    stand_ins::stream(0).enqueue([reached, time = std::chrono::steady_clock::now() + kLag] {
      std::this_thread::sleep_until(time);
      reached->set_value(time);
    });
  }
  void block(void* event, const c10::Stream& stream) const override {
    touch_device();
    const auto id = static_cast<int>(stream.id());
    note("wait stream=" + std::to_string(id));
    const auto& recorded = *static_cast<Event*>(event);
    stream_order().wait(id, recorded.clock);
    if (id != 0)
      stand_ins::stream(id).enqueue([reached = recorded.reached] { reached.wait(); });
    else
      recorded.reached.wait();  // its kernels run at once
  }
  /// What the host has not waited for is not there at the first time that it asks.
  bool queryEvent(void* event) const override {
    touch_device();
    if (event == nullptr) return true;
    auto& recorded = *static_cast<Event*>(event);
    const bool known = stream_order().is_known(recorded.clock);
    if (!std::exchange(recorded.asked, true) && !known) return false;
    if (!recorded.is_done()) return false;
    host_knows(recorded.clock);
    return true;
  }
  void synchronizeEvent(void* event) const override {
    touch_device();
    const auto& recorded = *static_cast<Event*>(event);
    count_host_wait();
    recorded.reached.wait();
    host_knows(recorded.clock);
    require_health();
  }
  double elapsedTime(void* first, void* second, const c10::DeviceIndex) const override {
    require_health();
    const auto* from = static_cast<Event*>(first);
    const auto* to = static_cast<Event*>(second);
    TORCH_CHECK(from->is_timed && to->is_timed && from->is_done() && to->is_done(),
                "stand-in: times of events that are not timed, or not reached");
    return std::chrono::duration<double, std::milli>(to->reached.get() - from->reached.get())
        .count();
  }
  void destroyEvent(void* event, const c10::DeviceIndex) const noexcept override {
    delete static_cast<Event*>(event);
  }
  c10::DeviceIndex deviceCount() const noexcept override {
    return static_cast<c10::DeviceIndex>(device_count());
  }
  void synchronizeStream(const c10::Stream& stream) const override {
    touch_device();
    wait_for_stream(static_cast<int>(stream.id()));
    require_health();
  }
};

C10_REGISTER_GUARD_IMPL(CUDA, GuardImpl)

}  // namespace

int device_count() {
  const char* count = std::getenv("KESSOKU_STAND_IN_GPUS");
  return count == nullptr ? 4 : std::atoi(count);
}

c10::DeviceIndex current_device() { return thread_device.index; }

int current_stream() { return static_cast<int>(thread_device.streams[place(thread_device.index)]); }

bool has_chosen_device() { return thread_device.chosen || thread_device.guards > 0; }

void touch_device() {
  TORCH_CHECK(has_chosen_device(), "stand-in: this thread uses a GPU without having chosen one");
  require_health();
}

}  // namespace kessoku::stand_ins
