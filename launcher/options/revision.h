#pragma once

namespace kessoku::launcher {

/// The commit that CMake last saw, as `git describe` names it; "unknown" outside a checkout.
const char* revision();

}  // namespace kessoku::launcher
