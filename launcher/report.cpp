#include "launcher/commands.h"

namespace kessoku::launcher {

void add_report_command(CLI::App& app) { app.add_subcommand("report", "to be written"); }

}  // namespace kessoku::launcher
