#include "runtime/supervision/stop_signal.h"

#include <pthread.h>

#include <ctime>

namespace kessoku::runtime {

sigset_t stop_signals() {
  sigset_t signals;
  sigemptyset(&signals);
  for (int signal : {SIGINT, SIGTERM, SIGUSR1}) sigaddset(&signals, signal);
  return signals;
}

StopSignal::StopSignal() {
  const sigset_t signals = stop_signals();
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  thread_ = std::thread([this] { watch(); });
}

StopSignal::~StopSignal() {
  closing_ = true;
  thread_.join();
  const sigset_t signals = stop_signals();
  pthread_sigmask(SIG_UNBLOCK, &signals, nullptr);
}

void StopSignal::watch() {
  const sigset_t signals = stop_signals();
  const timespec pause{0, 50'000'000};
  while (!closing_) {
    const int signal = sigtimedwait(&signals, nullptr, &pause);
    if (signal <= 0) continue;
    if (requested_.exchange(true) && signal == SIGINT) {
      ::signal(SIGINT, SIG_DFL);
      pthread_sigmask(SIG_UNBLOCK, &signals, nullptr);
      raise(SIGINT);
    }
  }
}

}  // namespace kessoku::runtime
