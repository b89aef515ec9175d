#include "base/process/stderr_line.h"

#include <fmt/chrono.h>

#include <chrono>
#include <cstdio>
#include <mutex>
#include <nlohmann/json.hpp>

#include "base/process/process.h"
#include "base/process/terminal.h"

namespace kessoku {

namespace {

using Json = nlohmann::ordered_json;

/// What this process knows of its stderr, of which there is one, too.
struct Stderr {
  std::mutex mutex;
  LogFormat format = LogFormat::kText;
  std::string live_line;
  const bool terminal = stderr_is_terminal();
  const std::optional<int> rank = process_rank();
  const std::string host = host_name();
};

Stderr& standard_error() {
  static Stderr only;
  return only;
}

/// A full disk behind stderr must not end what goes on.
void put(const std::string& text) { std::fwrite(text.data(), 1, text.size(), stderr); }

/// "2026-11-29T17:55:46.123Z"
std::string utc_now() {
  const auto now = std::chrono::system_clock::now();
  const auto milliseconds =
      std::chrono::duration_cast<std::chrono::milliseconds>(now.time_since_epoch()).count() % 1000;
  const std::time_t seconds = std::chrono::system_clock::to_time_t(now);
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:03}Z", fmt::gmtime(seconds), milliseconds);
}

std::string json_line(const Stderr& out, const char* level, const std::string& text,
                      const Json& fields) {
  Json line = {{"time", utc_now()}, {"level", level}};
  if (out.rank) line["rank"] = *out.rank;
  line["host"] = out.host;
  line["message"] = text;
  line.update(fields);
  return line.dump(-1, ' ', false, Json::error_handler_t::replace);
}

/// " (rank 1 on node2)"
std::string origin(const Stderr& out) {
  return out.rank ? fmt::format(" (rank {} on {})", *out.rank, out.host) : "";
}

/// In text `prefix` comes before `text`.
void write(const char* level, const std::string& prefix, const std::string& text,
           const Json& fields = Json::object()) {
  Stderr& out = standard_error();
  const std::lock_guard lock(out.mutex);
  if (out.format == LogFormat::kJson) {
    put(json_line(out, level, text, fields) + '\n');
    return;
  }
  // The live line may be another rank's, too.
  const bool clears = !out.live_line.empty() || (out.terminal && out.rank);
  put(fmt::format("{}{}{}\n{}", clears ? "\r\x1b[K" : "", prefix, text, out.live_line));
}

}  // namespace

void set_log_format(LogFormat format) {
  const std::lock_guard lock(standard_error().mutex);
  standard_error().format = format;
}

LogFormat log_format() {
  const std::lock_guard lock(standard_error().mutex);
  return standard_error().format;
}

void write_labeled(const char* level, const char* color, const std::string& text) {
  const Stderr& out = standard_error();
  const std::string label =
      out.terminal ? fmt::format("\033[1;{}m{}\033[m", color, level) : std::string(level);
  write(level, label + (out.rank.value_or(0) > 0 ? origin(out) : "") + ": ", text);
}

void write_error(const std::string& text) {
  write("error", "kessoku" + origin(standard_error()) + ": ", text);
}

void write_line(const std::string& text) { write("info", "", text); }

void write_line(const std::string& text, const Json& fields) { write("info", "", text, fields); }

void show_live_line(const std::string& text) {
  Stderr& out = standard_error();
  const std::lock_guard lock(out.mutex);
  out.live_line = text;
  put(fmt::format("\r{}\x1b[K", text));
}

void end_live_line() {
  Stderr& out = standard_error();
  const std::lock_guard lock(out.mutex);
  if (!out.live_line.empty()) put("\n");
  out.live_line.clear();
}

}  // namespace kessoku
