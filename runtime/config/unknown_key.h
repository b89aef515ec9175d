#pragma once

#include <string>

namespace kessoku::runtime {

/// What is wrong with a key that there is not, and what was probably meant: what other trainers
/// call it, else the same name in another section, else the nearest name.
std::string explain_unknown_key(const std::string& full_name);

std::string explain_unknown_section(const std::string& name);

}  // namespace kessoku::runtime
