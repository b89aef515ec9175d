#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace kessoku::launcher {

/// What `kessoku sample` is asked for.
struct SampleOptions {
  std::string model;  ///< empty: that of `from`
  std::vector<std::string> prompts;
  std::string prompts_file;
  std::vector<std::string> from;             ///< PNGs to make again
  bool any_model = false;                    ///< also if they were made with another one
  std::map<std::string, std::string> given;  ///< settings on the command line, as text
  int64_t count = 1;                         ///< images of each prompt
  std::string out = "samples";
  size_t columns = 0;  ///< of the grid; 0: a square
  bool labels = false;
  bool json = false;
  std::string device = "auto";  ///< where the networks compute
};

/// Adds `kessoku sample` with its options and help to `app`.
CLI::App* declare(CLI::App& app, SampleOptions& options);

}  // namespace kessoku::launcher
