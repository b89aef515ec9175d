#include "runtime/communication/stream_watcher.h"

#include <chrono>
#include <utility>

#include "base/error.h"

namespace kessoku::runtime {

StreamWatcher::StreamWatcher(std::shared_ptr<CollectiveLog> log,
                             std::function<std::string()> failure)
    : log_(std::move(log)), failure_(std::move(failure)), thread_([this] { run(); }) {}

StreamWatcher::~StreamWatcher() {
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void StreamWatcher::add(std::shared_ptr<StreamOperation> operation) {
  {
    const std::lock_guard lock(mutex_);
    if (operations_.empty()) log_->begin(operation->number);
    operations_.push_back(std::move(operation));
  }
  changed_.notify_all();
}

void StreamWatcher::wait(const StreamOperation& operation) {
  while (true) {
    {
      const std::lock_guard lock(mutex_);
      look();
      // After a failure streams go on, but without what others should have sent.
      if (!error_.empty()) throw Error(ExitCode::kWatchdog, error_);
    }
    if (operation.done) return;
    std::this_thread::yield();
  }
}

/// With the mutex held.
void StreamWatcher::look() {
  while (!operations_.empty() && operations_.front()->end.query()) {
    StreamOperation& front = *operations_.front();
    log_->finish(front.number);
    front.tensors.clear();
    front.done = true;
    operations_.pop_front();
    if (!operations_.empty()) log_->begin(operations_.front()->number);
  }
}

void StreamWatcher::run() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return closing_ || !operations_.empty(); });
    if (closing_) return;
    look();
    if (error_.empty()) error_ = failure_();
    constexpr auto kPause = std::chrono::milliseconds(1);
    changed_.wait_for(lock, kPause, [this] { return closing_; });
  }
}

}  // namespace kessoku::runtime
