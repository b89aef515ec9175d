#pragma once

#include <cstdint>
#include <string_view>

namespace kessoku::model {

/// What an image is made with where nothing else is said. Without LibTorch, for the command line's
/// help.
struct GenerationDefaults {
  int64_t steps = 28;
  double cfg = 7.5;
  std::string_view solver = "dpmpp_2m";
  int64_t feather = 8;  ///< pixels over which a repainted part fades into the kept one
};

}  // namespace kessoku::model
