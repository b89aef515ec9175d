#pragma once

#include <fmt/format.h>

#include <string>
#include <utility>

namespace kessoku {

/// A line on stderr, "warning: TEXT"; "warning" is in color on a terminal.
void write_warning(const std::string& text);
/// The same with "info".
void write_info(const std::string& text);

template <typename... Arguments>
void log_warning(fmt::format_string<Arguments...> format, Arguments&&... arguments) {
  write_warning(fmt::format(format, std::forward<Arguments>(arguments)...));
}
template <typename... Arguments>
void log_info(fmt::format_string<Arguments...> format, Arguments&&... arguments) {
  write_info(fmt::format(format, std::forward<Arguments>(arguments)...));
}

}  // namespace kessoku
