#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "runtime/communication/collective_log.h"

namespace kessoku::runtime {

/// Work under way; `wait` returns when its tensors may be used, and throws what the work threw. It
/// may be called again.
class Pending {
 public:
  virtual ~Pending() = default;
  virtual void wait() = 0;
  /// Puts the work before what the current stream of its GPU is asked for next; the host goes on at
  /// once, and a later `wait` tells whether the work failed. Elsewhere as `wait`.
  virtual void order() { wait(); }
  /// Whether `wait` would return at once.
  virtual bool done() const = 0;
};

/// Carries out operations one by one, in the order in which they were asked for, on a thread of
/// its own: so MPI moves data while the training thread computes, and one thread alone calls it.
class CommunicationThread {
 public:
  /// `set_up` and `tear_down` run on the thread, first and last. What `set_up` throws, the
  /// constructor throws. `log` may be read by others.
  CommunicationThread(std::function<void()> set_up, std::function<void()> tear_down,
                      std::shared_ptr<CollectiveLog> log);
  /// Ends the thread after what was asked for.
  ~CommunicationThread();

  /// `work` on `bytes` bytes; it is given a function that tells whether somebody waits for it.
  using Work = std::function<void(const std::function<bool()>& somebody_waits)>;
  std::unique_ptr<Pending> ask(const char* name, int64_t bytes, Work work);

 private:
  struct Task;
  struct Shared;
  class TaskPending;
  static void run(std::shared_ptr<Shared> shared);

  std::shared_ptr<Shared> shared_;
  std::thread thread_;
};

}  // namespace kessoku::runtime
