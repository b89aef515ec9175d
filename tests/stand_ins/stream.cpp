#include "tests/stand_ins/stream.h"

#include <array>
#include <cstdlib>
#include <fstream>

namespace kessoku::stand_ins {

Stream::Stream(int number) : number_(number), thread_([this] { run(); }) {}

Stream::~Stream() {
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void Stream::enqueue(std::function<void()> work) {
  {
    const std::lock_guard lock(mutex_);
    work_.push_back(std::move(work));
  }
  changed_.notify_all();
}

void Stream::synchronize() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return work_.empty(); });
}

void Stream::run() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return closing_ || !work_.empty(); });
    if (work_.empty()) return;
    const std::function<void()>& work = work_.front();
    lock.unlock();
    work();
    lock.lock();
    work_.pop_front();
    changed_.notify_all();
  }
}

Stream& stream(int number) {
  // Never destroyed: the process may end while a stream hangs.
  static auto* streams = new std::array<Stream*, kStreams + 1>{};
  static std::mutex mutex;
  const std::lock_guard lock(mutex);
  Stream*& stream = streams->at(static_cast<size_t>(number));
  if (stream == nullptr) stream = new Stream(number);
  return *stream;
}

void note(const std::string& line) {
  static std::mutex mutex;
  static std::ofstream file = [] {
    const char* path = std::getenv("KESSOKU_STAND_IN_LOG");
    const char* rank = std::getenv("OMPI_COMM_WORLD_RANK");
    return path == nullptr
               ? std::ofstream()
               : std::ofstream(std::string(path) + "." + (rank == nullptr ? "0" : rank));
  }();
  const std::lock_guard lock(mutex);
  if (file.is_open()) file << line << std::endl;
}

}  // namespace kessoku::stand_ins
