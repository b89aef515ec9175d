#pragma once

#include <CLI/CLI.hpp>

#include "base/exit_code.h"

namespace kessoku::launcher {

// Each adds one subcommand with its options and help to `app`; its callback does the work and
// throws kessoku::Error.
void add_convert_command(CLI::App& app);
void add_forward_command(CLI::App& app);
void add_init_command(CLI::App& app);
void add_prepare_command(CLI::App& app);
void add_inspect_command(CLI::App& app);
void add_keys_command(CLI::App& app);
void add_plan_command(CLI::App& app);
/// `result` becomes kStopped when training was asked to stop before its last step.
void add_train_command(CLI::App& app, ExitCode& result);
/// `result` becomes what the training ended with, or what ended it for good.
void add_launch_command(CLI::App& app, ExitCode& result);
/// `result` becomes kStopped when it was asked to stop before the last image.
void add_sample_command(CLI::App& app, ExitCode& result);
void add_tokens_command(CLI::App& app);
void add_report_command(CLI::App& app);

}  // namespace kessoku::launcher
