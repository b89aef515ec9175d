#pragma once

#include "launcher/options/sample_options.h"
#include "runtime/images/generation_settings.h"

namespace kessoku::launcher {

/// The images that are asked for, in order. Settings come from defaults, then the PNG of --from,
/// then the command line, then a line of the prompts file; seeds count up. `notes` get what prompts
/// and their file hold that is not drawn. Throws UsageError naming option or line, DataError naming
/// a PNG.
std::vector<runtime::GenerationSettings> list_images(const SampleOptions& options,
                                                     std::vector<std::string>& notes);

}  // namespace kessoku::launcher
