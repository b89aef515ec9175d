#include "runtime/communication/stream_watcher.h"

#include <c10/core/impl/VirtualGuardImpl.h>

#include <chrono>
#include <exception>
#include <utility>

#include "base/error.h"

namespace kessoku::runtime {

StreamWatcher::StreamWatcher(at::Device device, std::shared_ptr<CollectiveLog> log,
                             std::function<std::string()> failure)
    : device_(device),
      log_(std::move(log)),
      failure_(std::move(failure)),
      thread_([this] { run(); }) {}

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
  while (!operations_.empty() && operations_.front()->asked && operations_.front()->end.query()) {
    StreamOperation& front = *operations_.front();
    log_->finish(front.number);
    front.tensors.clear();
    front.done = true;
    operations_.pop_front();
    if (!operations_.empty()) log_->begin(operations_.front()->number);
  }
}

/// The same on a thread that nobody catches errors of: a GPU that is lost is one.
void StreamWatcher::look_safely() {
  try {
    look();
  } catch (const std::exception& error) {
    const std::string text = error.what();
    error_ = text.substr(0, text.find('\n'));
  }
}

void StreamWatcher::run() {
  // A thread begins on the first GPU, and asking it anything makes a context there.
  c10::impl::VirtualGuardImpl(device_.type()).setDevice(device_);
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return closing_ || !operations_.empty(); });
    if (closing_) return;
    if (error_.empty()) look_safely();
    if (error_.empty()) error_ = failure_();
    constexpr auto kPause = std::chrono::milliseconds(1);
    changed_.wait_for(lock, kPause, [this] { return closing_; });
  }
}

}  // namespace kessoku::runtime
