#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Event.h>

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "runtime/communication/collective_log.h"

namespace kessoku::runtime {

/// An exchange that a stream was asked for.
struct StreamOperation {
  uint64_t number;  ///< in the log
  c10::Event end{at::kCUDA};
  std::atomic<bool> asked = false;  ///< all of it; `end` is recorded
  std::vector<at::Tensor> tensors;  ///< that it uses
  std::atomic<bool> done = false;
};

/// Which of the operations on a stream are done, found out by a thread that also asks whether the
/// others will ever be.
class StreamWatcher {
 public:
  /// `device`: whose streams. `failure`: what is wrong, or nothing.
  StreamWatcher(at::Device device, std::shared_ptr<CollectiveLog> log,
                std::function<std::string()> failure);
  StreamWatcher(const StreamWatcher&) = delete;
  StreamWatcher& operator=(const StreamWatcher&) = delete;
  ~StreamWatcher();

  /// In the order of the stream, and before it is asked for: that may already wait for others.
  void add(std::shared_ptr<StreamOperation> operation);

  /// Throws Error (exit code 76) after a failure.
  void wait(const StreamOperation& operation);

 private:
  void look();
  void look_safely();
  void run();

  at::Device device_;
  std::shared_ptr<CollectiveLog> log_;
  std::function<std::string()> failure_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::shared_ptr<StreamOperation>> operations_;  ///< that are not done, in order
  std::string error_;
  bool closing_ = false;
  std::thread thread_;
};

}  // namespace kessoku::runtime
