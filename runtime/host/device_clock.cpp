#include "runtime/host/device_clock.h"

#include <c10/core/impl/VirtualGuardImpl.h>

namespace kessoku::runtime {

void DeviceClock::mark(size_t number) {
  Mark& mark = marks_.emplace_back(Mark{number, Clock::now(), {}});
  if (device_.is_cpu()) return;
  mark.event.emplace(device_.type(), c10::EventFlag::BACKEND_DEFAULT);  // with its time
  mark.event->record(c10::impl::VirtualGuardImpl(device_.type()).getStream(device_));
}

void DeviceClock::take(std::span<double> seconds) {
  while (marks_.size() > 1 && (!marks_[1].event || marks_[1].event->query())) {
    if (marks_[1].number != kNone)
      seconds[marks_[1].number] += seconds_between(marks_[0], marks_[1]);
    marks_.pop_front();
  }
}

double DeviceClock::seconds_between(const Mark& from, const Mark& to) {
  if (to.event) return 1e-3 * from.event->elapsedTime(*to.event);  // in milliseconds
  return std::chrono::duration<double>(to.time - from.time).count();
}

}  // namespace kessoku::runtime
