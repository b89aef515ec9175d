#pragma once

#include <string>

#include "runtime/config/key.h"

namespace kessoku::runtime {

/// A TOML string.
std::string toml_string(const std::string& text);

/// A value as TOML: 1e-06, ["unet"], [["unet.*", 0.5]].
std::string value_text(const Field& field);

}  // namespace kessoku::runtime
