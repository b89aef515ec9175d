#include "tests/paths.h"

namespace kessoku::tests {

std::string source_folder() { return KESSOKU_SOURCE_DIR; }

std::string python() { return KESSOKU_PYTHON; }

}  // namespace kessoku::tests
