#include "runtime/run/overwritten_files.h"

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "base/folder.h"
#include "base/json.h"
#include "base/system_error.h"
#include "metrics/account_book.h"
#include "metrics/step_record.h"
#include "runtime/config/config_writer.h"

namespace kessoku::runtime {

namespace {

namespace fs = std::filesystem;
using nlohmann::json;

/// Whether what a training wrote looks like this: `is_ours` may throw what parsers throw.
template <typename IsOurs>
bool recognized(const fs::path& file, const IsOurs& is_ours) {
  if (!is_file(file)) return !is_folder(file);
  try {
    const std::string text = read_file(file);
    return text.empty() || is_ours(text);
  } catch (const SystemError&) {
    throw;
  } catch (const std::exception&) {
    return false;
  }
}

/// Its first line; a crash may have torn it.
bool is_log(const fs::path& file) {
  if (!is_file(file)) return !is_folder(file);
  const MappedFile mapped(file);
  const std::string_view text(reinterpret_cast<const char*>(mapped.bytes().data()),
                              mapped.bytes().size());
  const size_t newline = text.find('\n');
  if (newline == text.npos) {
    constexpr std::string_view kStart = "{\"step\":";
    return text.starts_with(kStart.substr(0, std::min(kStart.size(), text.size())));
  }
  try {
    metrics::step_record_from_json(text.substr(0, newline));
    return true;
  } catch (const DataError&) {
    return false;
  }
}

bool is_mixture(const std::string& text) {
  const json mixture = parse_json(text, "mixture.json");
  return mixture.contains("categories") && mixture.contains("pass_draws");
}

bool is_targets(const std::string& text) {
  const json targets = parse_json(text, "targets");
  return std::ranges::all_of(targets, [](const json& target) {
    return target.contains("targets") && target.at("labels").contains("run");
  });
}

/// A file as to_toml writes it. An earlier program's has other keys: then the rest must look like a
/// run.
bool is_resolved_config(const std::string& text, const fs::path& run) {
  if (to_toml(parse_config(text, run / "config.toml")) == text) return true;
  return is_file(run / "log.jsonl") && is_file(run / "mixture.json");
}

}  // namespace

void require_own_files(const fs::path& run, const RunConfig& config) {
  const auto require = [&](bool is_ours, const fs::path& file, const char* otherwise) {
    if (is_ours) return;
    throw UsageError(fmt::format(
        "{}: no training wrote this file, and this one would overwrite it: rename it, or give "
        "another {}",
        file.string(), otherwise));
  };
  const fs::path log = run / "log.jsonl", mixture = run / "mixture.json", lock = run / "lock";
  require(is_log(log), log, "--out");
  require(recognized(mixture, is_mixture), mixture, "--out");
  require(recognized(lock, [](const std::string& text) { return text.starts_with("process "); }),
          lock, "--out");
  const fs::path settings = run / "config.toml";
  require(
      recognized(settings, [&](const std::string& text) { return is_resolved_config(text, run); }),
      settings, "--out");
  const fs::path account = metrics::account_book_of(run);
  require(
      recognized(account, [](const std::string& text) { return text.starts_with("{\"event\":"); }),
      account, "--out");
  const fs::path targets = run / config.metrics.file_sd;
  if (config.metrics.port >= 0 && !config.metrics.file_sd.empty())
    require(recognized(targets, is_targets), targets, "metrics.file_sd");
}

}  // namespace kessoku::runtime
