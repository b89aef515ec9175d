#pragma once

#include <string>
#include <vector>

#include "runtime/images/generation_settings.h"

namespace kessoku::launcher {

/// Settings that an image has of its own, e.g. its prompt, and how often it is made.
struct PromptLine {
  std::string where;  ///< for messages, e.g. "prompts.txt, line 3"
  runtime::SettingsText settings;
  int64_t count = 1;
};

/// A file of prompts: one a line, with flags as kohya's scripts and A1111's web UI have them
/// ("a cat --w 512 --h 768 --d 7"), or a JSON object with settings. Lines that begin with # are
/// comments. `count` is that of lines that do not say it. `notes` get what the file holds that is
/// not read. Throws UsageError naming file and line.
std::vector<PromptLine> read_prompt_file(const std::string& file, int64_t count,
                                         std::vector<std::string>& notes);

}  // namespace kessoku::launcher
