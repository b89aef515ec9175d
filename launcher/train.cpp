#include "launcher/commands.h"

namespace kessoku::launcher {

void add_train_command(CLI::App& app) { app.add_subcommand("train", "to be written"); }

}  // namespace kessoku::launcher
