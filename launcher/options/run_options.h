#pragma once

#include <CLI/CLI.hpp>

#include "base/process/stderr_line.h"

namespace kessoku::launcher {

/// --log-format, which counts as soon as it is read.
inline void add_log_format(CLI::App& command) {
  command
      .add_option_function<std::string>(
          "--log-format",
          [](const std::string& format) {
            set_log_format(format == "json" ? LogFormat::kJson : LogFormat::kText);
          },
          "what is written to stderr: text, or json, an object a line for collectors")
      ->check(CLI::IsMember({"text", "json"}))
      ->default_str("text");
}

/// An option that may be repeated, one value each time.
inline void add_repeated(CLI::App& command, const char* name, std::vector<std::string>& values,
                         const char* description) {
  command.add_option(name, values, description)->take_all()->expected(1)->allow_extra_args(false);
}

/// RUN.toml and --set, for `options.run_file` and `options.overrides`.
template <typename Options>
void add_run_file(CLI::App& command, Options& options) {
  command.add_option("RUN.toml", options.run_file, "the run file")->required();
  add_repeated(command, "--set", options.overrides,
               "section.key=value, over the run file; may be repeated");
}

/// Those and --out, --resume and --allow-change: what training is told.
template <typename Options>
void add_run_options(CLI::App& command, Options& options) {
  add_run_file(command, options);
  command.add_option("--out", options.out, "run folder; default runs/<name>");
  command.add_option("--resume", options.resume, "auto | memory | never | a checkpoint's folder")
      ->capture_default_str();
  add_repeated(command, "--allow-change", options.allowed_changes,
               "allow this key to change on resume; may be repeated");
  add_log_format(command);
}

}  // namespace kessoku::launcher
