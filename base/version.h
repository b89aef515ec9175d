#pragma once

namespace kessoku {

/// The version of the program, such as "0.1.0", as images and run folders record it.
const char* version();

}  // namespace kessoku
