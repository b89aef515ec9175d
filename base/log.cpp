#include "base/log.h"

#include <unistd.h>

#include <cstdio>

namespace kessoku {

namespace {

void write_line(const char* kind, const char* color, const std::string& text) {
  static const bool terminal = ::isatty(STDERR_FILENO) == 1;
  const std::string shown =
      terminal ? fmt::format("\033[1;{}m{}\033[m", color, kind) : std::string(kind);
  fmt::print(stderr, "{}: {}\n", shown, text);
}

}  // namespace

void write_warning(const std::string& text) { write_line("warning", "33", text); }
void write_info(const std::string& text) { write_line("info", "32", text); }

}  // namespace kessoku
