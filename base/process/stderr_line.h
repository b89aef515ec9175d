#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

namespace kessoku {

enum class LogFormat {
  kText,  ///< for persons
  kJson   ///< one object a line, for collectors: time, level, rank, host, message
};

/// How the lines of this process look on stderr; text unless this is called. All functions here may
/// be called by any thread.
void set_log_format(LogFormat format);
LogFormat log_format();

/// `text` alone, of one line or several; of level "info" in JSON.
void write_line(const std::string& text);
/// The same; in JSON the members of the object `fields` follow.
void write_line(const std::string& text, const nlohmann::ordered_json& fields);
/// "kessoku: TEXT", with rank and host if the process is one of several.
void write_error(const std::string& text);
/// "LEVEL: TEXT", the level in a color of ANSI terminals. Ranks but the first are named.
void write_labeled(const char* level, const char* color, const std::string& text);

/// Keeps `text` as the last line of the terminal: what is written meanwhile appears above it. It
/// must not be wider than the terminal.
void show_live_line(const std::string& text);
/// What it showed last stays.
void end_live_line();

}  // namespace kessoku
