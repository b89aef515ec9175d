#include "tests/stand_ins/stream_order.h"

#include <c10/util/Exception.h>

#include <algorithm>

namespace kessoku::stand_ins {

namespace {

void join(Clock& clock, const Clock& other) {
  for (size_t i = 0; i < clock.size(); ++i) clock[i] = std::max(clock[i], other[i]);
}

}  // namespace

void StreamOrder::begin(int stream) {
  const std::lock_guard lock(mutex_);
  begun_[static_cast<size_t>(stream)] = true;
}

void StreamOrder::use(int stream, const void* data, size_t bytes, bool writes) {
  const auto own = static_cast<size_t>(stream);
  const auto* begin = static_cast<const char*>(data);
  const std::lock_guard lock(mutex_);
  Clock& clock = clocks_[own];
  join(clock, host_);
  const uint64_t number = ++clock[own];
  for (size_t other = 0; other < uses_.size(); ++other) {
    if (other == own) continue;
    for (auto use = uses_[other].rbegin(); use != uses_[other].rend(); ++use) {
      if (use->number <= clock[other]) break;
      const bool overlaps = begin < use->end && use->begin < begin + bytes;
      TORCH_CHECK(!overlaps || !(writes || use->writes), "stand-in: stream ", stream,
                  writes ? " writes" : " reads", " memory that stream ", other,
                  use->writes ? " writes" : " reads", ", and has not waited for it");
    }
  }
  if (is_alone(stream)) return;
  uses_[own].push_back({number, begin, begin + bytes, writes});
  forget(stream);
}

bool StreamOrder::is_alone(int stream) const {
  for (size_t other = 0; other < begun_.size(); ++other)
    if (begun_[other] && other != static_cast<size_t>(stream)) return false;
  return true;
}

/// What all others have waited for.
void StreamOrder::forget(int stream) {
  const auto own = static_cast<size_t>(stream);
  uint64_t seen = clocks_[own][own];
  for (size_t other = 0; other < begun_.size(); ++other)
    if (begun_[other] && other != own) seen = std::min(seen, clocks_[other][own]);
  seen = std::max(seen, host_[own]);
  while (!uses_[own].empty() && uses_[own].front().number <= seen) uses_[own].pop_front();
}

Clock StreamOrder::clock_of(int stream) {
  const std::lock_guard lock(mutex_);
  Clock& clock = clocks_[static_cast<size_t>(stream)];
  join(clock, host_);
  return clock;
}

void StreamOrder::wait(int stream, const Clock& clock) {
  const std::lock_guard lock(mutex_);
  join(clocks_[static_cast<size_t>(stream)], clock);
}

void StreamOrder::host_waited(const Clock& clock) {
  const std::lock_guard lock(mutex_);
  join(host_, clock);
}

bool StreamOrder::is_done(int stream, uint64_t number) {
  const std::lock_guard lock(mutex_);
  return number <= host_[static_cast<size_t>(stream)];
}

bool StreamOrder::is_known(const Clock& clock) {
  const std::lock_guard lock(mutex_);
  for (size_t i = 0; i < clock.size(); ++i)
    if (clock[i] > host_[i]) return false;
  return true;
}

StreamOrder& stream_order() {
  static auto* order = new StreamOrder;
  return *order;
}

}  // namespace kessoku::stand_ins
