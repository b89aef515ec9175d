#include "runtime/supervision/child_process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <fstream>
#include <system_error>
#include <thread>

#include "base/error.h"

namespace kessoku::runtime {

namespace {

/// In the new process; comes back only if the program cannot be started.
void become(const std::vector<char*>& arguments, pid_t parent) {
  ::setpgid(0, 0);
  ::prctl(PR_SET_PDEATHSIG, SIGUSR1);
  if (::getppid() != parent) ::_exit(1);  // it died before it could be watched
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  const int nothing = ::open("/dev/null", O_RDONLY);
  if (nothing >= 0) ::dup2(nothing, STDIN_FILENO);
  ::execvp(arguments[0], arguments.data());
}

int result_of(int status) {
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

std::vector<pid_t> children() {
  std::vector<pid_t> found;
  std::ifstream list(fmt::format("/proc/self/task/{}/children", ::getpid()));
  for (pid_t child = 0; list >> child;) found.push_back(child);
  return found;
}

}  // namespace

ChildProcess::ChildProcess(const std::vector<std::string>& command) {
  std::vector<char*> arguments;
  for (const std::string& word : command) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  int failure[2];  // what exec says, if it fails
  if (::pipe2(failure, O_CLOEXEC) != 0)
    throw std::system_error(errno, std::generic_category(), "pipe");
  const pid_t parent = ::getpid();
  pid_ = ::fork();
  if (pid_ == 0) {
    become(arguments, parent);
    const int error = errno;
    [[maybe_unused]] const ssize_t written = ::write(failure[1], &error, sizeof error);
    ::_exit(127);
  }
  ::close(failure[1]);
  int error = 0;
  const bool failed = pid_ > 0 && ::read(failure[0], &error, sizeof error) == sizeof error;
  ::close(failure[0]);
  if (pid_ < 0) throw std::system_error(errno, std::generic_category(), "fork");
  if (failed) {
    ::waitpid(pid_, nullptr, 0);
    result_ = 127;
    throw UsageError(fmt::format("cannot start {}: {}", command[0], std::strerror(error)));
  }
}

ChildProcess::~ChildProcess() {
  if (poll()) return;
  signal(SIGKILL);
  ::waitpid(pid_, nullptr, 0);
}

std::optional<int> ChildProcess::poll() {
  int status = 0;
  if (!result_ && ::waitpid(pid_, &status, WNOHANG) == pid_) {
    result_ = result_of(status);
    killed_ = WIFSIGNALED(status);
  }
  return result_;
}

void ChildProcess::signal(int number) const {
  if (!result_) ::kill(pid_, number);
}

void adopt_orphans() { ::prctl(PR_SET_CHILD_SUBREAPER, 1); }

int end_orphans(double seconds) {
  const auto reap = [] {
    while (::waitpid(-1, nullptr, WNOHANG) > 0) continue;
    return children().empty();
  };
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
  while (!reap() && std::chrono::steady_clock::now() < end)
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  int killed = 0;
  // Each may leave children of its own.
  for (std::vector<pid_t> left = children(); !left.empty(); left = children()) {
    for (const pid_t child : left) {
      ::kill(child, SIGKILL);
      if (::waitpid(child, nullptr, 0) == child) ++killed;
    }
  }
  return killed;
}

}  // namespace kessoku::runtime
