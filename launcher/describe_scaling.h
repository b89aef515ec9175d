#pragma once

#include <nlohmann/json.hpp>

namespace kessoku::launcher {

/// What `plan_scaling` says, as tables for a person.
std::string scaling_table(const nlohmann::json& scaling);

}  // namespace kessoku::launcher
