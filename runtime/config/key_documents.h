#pragma once

#include <nlohmann/json_fwd.hpp>

#include "runtime/config/key.h"

namespace kessoku::runtime {

/// What is known of a key, for programs: key, default, allowed, unit, meaning, page, on_resume.
nlohmann::json describe(const Key& key);

/// The default with its unit, or words; empty if there is none.
std::string shown_default(const Key& key);

/// Meaning, and with what else it has an effect, on one line.
std::string explanation(const Key& key);

/// The table of docs/run-file.md.
std::string markdown_table();

/// JSON Schema (draft 7) of a run file.
nlohmann::json json_schema();

}  // namespace kessoku::runtime
