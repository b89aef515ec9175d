#pragma once

#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace kessoku::launcher {

/// What `kessoku report` is asked for.
struct ReportOptions {
  std::vector<std::string> runs;  ///< folders
};

/// Adds `kessoku report` with its options and help to `app`.
CLI::App* declare(CLI::App& app, ReportOptions& options);

}  // namespace kessoku::launcher
