#include "launcher/commands.h"

namespace kessoku::launcher {

void add_sample_command(CLI::App& app) { app.add_subcommand("sample", "to be written"); }

}  // namespace kessoku::launcher
