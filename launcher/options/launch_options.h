#pragma once

#include "runtime/supervision/supervisor.h"

namespace CLI {
class App;
}

namespace kessoku::launcher {

/// Adds `kessoku launch` with its options and help to `app`.
CLI::App* declare(CLI::App& app, runtime::SupervisorOptions& options);

}  // namespace kessoku::launcher
