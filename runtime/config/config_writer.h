#pragma once

#include <string>

#include "runtime/config/key.h"

namespace kessoku::runtime {

/// A TOML string.
std::string toml_string(const std::string& text);

/// A value as TOML: 1e-06, ["unet"], [["unet.*", 0.5]].
std::string value_text(const Field& field);

/// The keys whose values are not the defaults, one a line: optimizer.lr = 1e-05.
std::string changed_keys(const RunConfig& config);

}  // namespace kessoku::runtime
