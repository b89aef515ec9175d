#pragma once

#include <string>

namespace kessoku::tests {

// Compiled in one file only, so that checkouts in several folders share all other objects in
// ccache.

std::string source_folder();  ///< of the project
std::string python();         ///< with the oracle packages

}  // namespace kessoku::tests
