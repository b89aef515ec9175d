#include "launcher/commands.h"

namespace kessoku::launcher {

void add_prepare_command(CLI::App& app) { app.add_subcommand("prepare", "to be written"); }

}  // namespace kessoku::launcher
