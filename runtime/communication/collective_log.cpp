#include "runtime/communication/collective_log.h"

#include <algorithm>

namespace kessoku::runtime {

uint64_t OperationLog::ask(std::string name, int64_t bytes) {
  const std::lock_guard lock(mutex_);
  operations_.push_back({++asked_, std::move(name), bytes, Clock::now(), {}, {}});
  // Only what is done may be forgotten.
  while (operations_.size() > capacity_ && operations_.front().done) operations_.pop_front();
  return asked_;
}

void OperationLog::begin(uint64_t number) {
  const std::lock_guard lock(mutex_);
  if (Operation* operation = find(number)) operation->begun = Clock::now();
}

void OperationLog::finish(uint64_t number) {
  const std::lock_guard lock(mutex_);
  if (Operation* operation = find(number)) operation->done = Clock::now();
}

std::optional<OperationLog::Clock::time_point> OperationLog::waiting_since() const {
  const std::lock_guard lock(mutex_);
  const auto waiting = std::ranges::find_if(operations_, [](const auto& o) { return !o.done; });
  if (waiting == operations_.end()) return std::nullopt;
  return waiting->begun.value_or(waiting->asked);
}

uint64_t OperationLog::last_done() const {
  const std::lock_guard lock(mutex_);
  const auto waiting = std::ranges::find_if(operations_, [](const auto& o) { return !o.done; });
  return waiting == operations_.end() ? asked_ : waiting->number - 1;
}

std::vector<OperationLog::Operation> OperationLog::newest() const {
  const std::lock_guard lock(mutex_);
  return {operations_.begin(), operations_.end()};
}

OperationLog::Operation* OperationLog::find(uint64_t number) {
  if (operations_.empty() || number < operations_.front().number) return nullptr;
  return &operations_[number - operations_.front().number];
}

}  // namespace kessoku::runtime
