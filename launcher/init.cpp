#include "launcher/commands.h"

namespace kessoku::launcher {

void add_init_command(CLI::App& app) { app.add_subcommand("init", "to be written"); }

}  // namespace kessoku::launcher
