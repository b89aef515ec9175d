#include "launcher/commands.h"

namespace kessoku::launcher {

void add_inspect_command(CLI::App& app) { app.add_subcommand("inspect", "to be written"); }

}  // namespace kessoku::launcher
