#pragma once

#include <optional>
#include <variant>

#include "launcher/options/convert_options.h"
#include "launcher/options/forward_options.h"
#include "launcher/options/init_options.h"
#include "launcher/options/inspect_options.h"
#include "launcher/options/keys_options.h"
#include "launcher/options/launch_options.h"
#include "launcher/options/plan_options.h"
#include "launcher/options/prepare_options.h"
#include "launcher/options/report_options.h"
#include "launcher/options/sample_options.h"
#include "launcher/options/tokens_options.h"
#include "launcher/options/top_options.h"
#include "launcher/options/train_options.h"

namespace kessoku::launcher {

/// What one subcommand is asked for; --help lists them in this order.
using Command =
    std::variant<InitOptions, PrepareArguments, InspectArguments, KeysArguments, PlanArguments,
                 TrainOptions, runtime::SupervisorOptions, SampleOptions, ForwardOptions,
                 ConvertOptions, TokensOptions, TopOptions, ReportOptions>;

/// The command, or nothing where all is said already: --help and --version are printed, and what is
/// wrong with the command line. Then `exit_code` is what the process is to end with.
std::optional<Command> parse_command_line(int argc, char** argv, int& exit_code);

}  // namespace kessoku::launcher
