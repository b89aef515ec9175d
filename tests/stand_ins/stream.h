#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

namespace kessoku::stand_ins {

constexpr int kStreams = 4;  ///< beside the default one, 0; of all devices together

/// Carries out work in order, later, on a thread of its own.
class Stream {
 public:
  explicit Stream(int number);
  ~Stream();
  void enqueue(std::function<void()> work);
  void synchronize();
  int number() const { return number_; }

 private:
  void run();

  const int number_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> work_;
  bool closing_ = false;
  std::thread thread_;
};

/// 0: the default one, of which only the end is late: events, not kernels.
Stream& stream(int number);

/// Appends a line to the file that KESSOKU_STAND_IN_LOG names, with ".RANK" behind it; nothing if
/// it is not set.
void note(const std::string& line);

}  // namespace kessoku::stand_ins
