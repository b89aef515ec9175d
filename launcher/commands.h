#pragma once

#include "base/exit_code.h"
#include "launcher/options/command_line.h"

namespace kessoku::launcher {

// Each does what one subcommand is asked for, and throws kessoku::Error.
void run(const InitOptions& options);
void run(const PrepareArguments& arguments);
void run(const InspectArguments& arguments);
void run(const KeysArguments& arguments);
void run(const PlanArguments& arguments);
/// kStopped when training was asked to stop before its last step.
ExitCode run(const TrainOptions& options);
/// What the training ended with, or what ended it for good.
ExitCode run(const runtime::SupervisorOptions& options);
/// kStopped when it was asked to stop before the last image.
ExitCode run(const SampleOptions& options);
void run(const ForwardOptions& options);
void run(const ConvertOptions& options);
void run(const TokensOptions& options);
void run(const TopOptions& options);
void run(const ReportOptions& options);

}  // namespace kessoku::launcher
