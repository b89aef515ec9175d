#pragma once

#include <string>

namespace CLI {
class App;
}

namespace kessoku::launcher {

/// What `kessoku report` is asked for.
struct ReportOptions {
  std::string run;  ///< folder
};

/// Adds `kessoku report` with its options and help to `app`.
CLI::App* declare(CLI::App& app, ReportOptions& options);

}  // namespace kessoku::launcher
