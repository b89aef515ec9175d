#include "launcher/options/command_line.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/version.h"
#include "launcher/options/failure.h"
#include "launcher/options/revision.h"

namespace kessoku::launcher {

namespace {

/// Declares all subcommands; parsing sets `command`.
template <typename... Options>
void declare_all(CLI::App& app, std::optional<std::variant<Options...>>& command) {
  const auto add = [&](const auto& options) {
    declare(app, *options)->callback([options, &command] { command = std::move(*options); });
  };
  (add(std::make_shared<Options>()), ...);
}

/// CLI11 would only say that a subcommand is missing.
void require_known_subcommand(const CLI::App& app, const std::string& word) {
  std::vector<std::string> names;
  for (const CLI::App* command : app.get_subcommands({})) names.push_back(command->get_name());
  if (word.starts_with("-") || std::ranges::find(names, word) != names.end()) return;
  const std::string nearest = nearest_word(word, names);
  throw UsageError(fmt::format("there is no subcommand {}; {}", word,
                               nearest.empty() ? fmt::format("there are {}", fmt::join(names, ", "))
                                               : fmt::format("did you mean {}?", nearest)));
}

}  // namespace

std::optional<Command> parse_command_line(int argc, char** argv, int& exit_code) {
  CLI::App app("Fine-tunes Stable Diffusion 1.x on many GPUs or none.", "kessoku");
  app.set_version_flag("--version", fmt::format("kessoku {} ({})", version(), revision()));
  app.require_subcommand(1);
  app.footer(
      "Example: kessoku train configs/demo.toml\nEvery subcommand has --help with an example.");
  std::optional<Command> command;
  declare_all(app, command);
  try {
    if (argc > 1) require_known_subcommand(app, argv[1]);
    app.parse(argc, argv);
    return command;
  } catch (const CLI::Success& request) {  // --help, --version
    exit_code = app.exit(request);
  } catch (const CLI::ParseError& error) {
    exit_code = fail(ExitCode::kUsage, fmt::format("{} (see kessoku --help)", error.what()));
  } catch (const Error& error) {
    exit_code = fail(error.exit_code(), error.what());
  }
  return std::nullopt;
}

}  // namespace kessoku::launcher
