#pragma once

#include <string>

namespace kessoku::runtime {

/// This host's name, as others know it.
std::string host_name();

}  // namespace kessoku::runtime
