#include "base/process/terminal.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdint>

#include "base/process/process.h"

namespace kessoku {

namespace {

/// Calls `ask` with a descriptor of the terminal, if there is one.
template <typename Ask>
bool with_terminal(const Ask& ask) {
  if (::isatty(STDERR_FILENO) == 1) return ask(STDERR_FILENO), true;
  if (!process_rank()) return false;
  // A rank's stderr is a pipe to mpirun, which copies to its own stderr as it comes.
  const std::string of_parent = fmt::format("/proc/{}/fd/2", ::getppid());
  const int descriptor = ::open(of_parent.c_str(), O_WRONLY | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
  if (descriptor < 0) return false;
  const bool terminal = ::isatty(descriptor) == 1;
  if (terminal) ask(descriptor);
  ::close(descriptor);
  return terminal;
}

}  // namespace

bool stderr_is_terminal() {
  return with_terminal([](int) {});
}

size_t terminal_width() {
  winsize size{};
  with_terminal([&](int terminal) { ::ioctl(terminal, TIOCGWINSZ, &size); });
  return size.ws_col == 0 ? 80 : size.ws_col;
}

size_t stdout_height() {
  winsize size{};
  ::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size);
  return size.ws_row == 0 ? SIZE_MAX : size.ws_row;
}

}  // namespace kessoku
