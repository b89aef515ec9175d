#include "runtime/communication/collective_log.h"

#include <algorithm>

namespace kessoku::runtime {

uint64_t CollectiveLog::ask(std::string name, int64_t bytes) {
  const std::lock_guard lock(mutex_);
  operations_.push_back({++asked_, std::move(name), bytes, Clock::now(), {}, {}});
  // Only what is done may be forgotten.
  while (operations_.size() > capacity_ && operations_.front().done) operations_.pop_front();
  return asked_;
}

void CollectiveLog::begin(uint64_t number) {
  const std::lock_guard lock(mutex_);
  if (Operation* operation = find(number)) operation->begun = Clock::now();
}

void CollectiveLog::finish(uint64_t number) {
  const std::lock_guard lock(mutex_);
  Operation* operation = find(number);
  if (operation == nullptr) return;
  operation->done = Clock::now();
  const Clock::time_point begun = operation->begun.value_or(operation->asked);
  totals_.busy_seconds += std::chrono::duration<double>(*operation->done - begun).count();
}

void CollectiveLog::count(const std::string& name, Traffic traffic) {
  const std::lock_guard lock(mutex_);
  Traffic& total = totals_.traffic[name];
  total.sent += traffic.sent;
  total.received += traffic.received;
}

std::optional<CollectiveLog::Clock::time_point> CollectiveLog::waiting_since() const {
  const std::lock_guard lock(mutex_);
  const auto waiting = std::ranges::find_if(operations_, [](const auto& o) { return !o.done; });
  if (waiting == operations_.end()) return std::nullopt;
  return waiting->begun.value_or(waiting->asked);
}

uint64_t CollectiveLog::last_done() const {
  const std::lock_guard lock(mutex_);
  const auto waiting = std::ranges::find_if(operations_, [](const auto& o) { return !o.done; });
  return waiting == operations_.end() ? asked_ : waiting->number - 1;
}

std::vector<CollectiveLog::Operation> CollectiveLog::newest() const {
  const std::lock_guard lock(mutex_);
  return {operations_.begin(), operations_.end()};
}

CollectiveLog::Totals CollectiveLog::totals() const {
  const std::lock_guard lock(mutex_);
  return totals_;
}

CollectiveLog::Operation* CollectiveLog::find(uint64_t number) {
  if (operations_.empty() || number < operations_.front().number) return nullptr;
  return &operations_[number - operations_.front().number];
}

}  // namespace kessoku::runtime
