#include "runtime/communication/communication_thread.h"

#include <ATen/Context.h>
#include <ATen/record_function.h>
#include <c10/util/ParallelGuard.h>

#include <atomic>
#include <exception>

namespace kessoku::runtime {

struct CommunicationThread::Task {
  const char* name = "";
  uint64_t number = 0;
  Work work;
  std::atomic<bool> awaited = false;
  bool done = false;  ///< guarded by Shared::mutex
  std::exception_ptr error;
};

struct CommunicationThread::Shared {
  std::function<void()> set_up, tear_down;
  std::shared_ptr<CollectiveLog> log;
  std::mutex mutex;
  std::condition_variable asked, done;
  std::deque<std::shared_ptr<Task>> tasks;
  bool ready = false, closing = false, failed = false;
  std::exception_ptr set_up_error;
};

class CommunicationThread::TaskPending : public Pending {
 public:
  TaskPending(std::shared_ptr<Task> task, std::shared_ptr<Shared> shared)
      : task_(std::move(task)), shared_(std::move(shared)) {}

  void wait() override {
    task_->awaited = true;
    std::unique_lock lock(shared_->mutex);
    shared_->done.wait(lock, [&] { return task_->done; });
    if (task_->error) std::rethrow_exception(task_->error);
  }
  bool done() const override {
    const std::lock_guard lock(shared_->mutex);
    return task_->done;
  }

 private:
  std::shared_ptr<Task> task_;
  std::shared_ptr<Shared> shared_;
};

CommunicationThread::CommunicationThread(std::function<void()> set_up,
                                         std::function<void()> tear_down,
                                         std::shared_ptr<CollectiveLog> log)
    : shared_(std::make_shared<Shared>()) {
  shared_->set_up = std::move(set_up);
  shared_->tear_down = std::move(tear_down);
  shared_->log = std::move(log);
  thread_ = std::thread(run, shared_);
  std::unique_lock lock(shared_->mutex);
  shared_->done.wait(lock, [&] { return shared_->ready; });
  if (!shared_->set_up_error) return;
  lock.unlock();
  thread_.join();
  std::rethrow_exception(shared_->set_up_error);
}

CommunicationThread::~CommunicationThread() {
  {
    const std::lock_guard lock(shared_->mutex);
    shared_->closing = true;
  }
  shared_->asked.notify_all();
  thread_.join();
}

std::unique_ptr<Pending> CommunicationThread::ask(const char* name, int64_t bytes, Work work) {
  auto task = std::make_shared<Task>();
  task->name = name;
  task->work = std::move(work);
  {
    const std::lock_guard lock(shared_->mutex);
    task->number = shared_->log->ask(name, bytes);
    shared_->tasks.push_back(task);
  }
  shared_->asked.notify_all();
  return std::make_unique<TaskPending>(std::move(task), shared_);
}

void CommunicationThread::run(std::shared_ptr<Shared> shared) {
  // The cores belong to the training thread; and sums must treat denormals as it does.
  const c10::ParallelGuard serial(true);
  at::globalContext().setFlushDenormal(true);
  try {
    shared->set_up();
  } catch (...) {
    shared->set_up_error = std::current_exception();
  }
  std::unique_lock lock(shared->mutex);
  shared->ready = true;
  shared->done.notify_all();
  if (shared->set_up_error) return;
  while (true) {
    shared->asked.wait(lock, [&] { return shared->closing || !shared->tasks.empty(); });
    if (shared->tasks.empty()) break;
    const std::shared_ptr<Task> task = shared->tasks.front();
    lock.unlock();
    shared->log->begin(task->number);
    try {
      RECORD_USER_SCOPE(task->name);
      task->work([&] { return task->awaited.load(std::memory_order_relaxed); });
    } catch (...) {
      task->error = std::current_exception();
    }
    task->work = nullptr;  // lets go of its tensors
    shared->log->finish(task->number);
    lock.lock();
    shared->tasks.pop_front();
    task->done = true;
    shared->done.notify_all();
  }
  lock.unlock();
  shared->tear_down();
}

}  // namespace kessoku::runtime
