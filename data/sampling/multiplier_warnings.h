#pragma once

#include <string>
#include <vector>

#include "data/sampling/mixture.h"

namespace kessoku::data {

/// Signs that a tool has bent the multipliers on their way into multiply.txt, and so the mixture:
/// all of them whole numbers (anime_screenshot_pipeline before 2023-01-29), small ones of two
/// decimals (the same, later), several folders at the same largest one (--max_multiply). Guesses,
/// and worded so. Only for mixtures by multipliers.
std::vector<std::string> rounding_warnings(const StoreManifest& manifest, const Mixture& mixture);

}  // namespace kessoku::data
