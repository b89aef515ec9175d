#pragma once

#include <CLI/CLI.hpp>

#include "runtime/images/generation_settings.h"

namespace kessoku::launcher {

/// What `kessoku sample` is asked for.
struct SampleOptions {
  std::string model;  ///< empty: that of `from`
  std::vector<std::string> prompts;
  std::string prompts_file;
  std::vector<std::string> from;  ///< PNGs to make again
  bool any_model = false;         ///< also if they were made with another one
  runtime::SettingsText given;    ///< settings on the command line
  int64_t count = 1;              ///< images of each prompt
  std::string out = "samples";
  size_t columns = 0;  ///< of the grid; 0: a square
  bool labels = false;
  bool json = false;
  std::string device = "auto";  ///< where the networks compute
};

/// Adds all options to `command`, with help.
void add_sample_options(CLI::App& command, SampleOptions& options);

/// The images that are asked for, in order. Settings come from defaults, then the PNG of --from,
/// then the command line, then a line of the prompts file; seeds count up. `notes` get what prompts
/// and their file hold that is not drawn. Throws UsageError naming option or line, DataError naming
/// a PNG.
std::vector<runtime::GenerationSettings> list_images(const SampleOptions& options,
                                                     std::vector<std::string>& notes);

}  // namespace kessoku::launcher
