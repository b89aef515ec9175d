#pragma once

#include <vector>

#include "data/store/store.h"

namespace kessoku::data {

/// Which examples are kept for validation: about `fraction` of each folder's images, told by their
/// content alone. So equal images stay together, and neither added images nor another seed move
/// any; a larger fraction only adds to the set. A folder keeps one image at least for training.
/// Empty if the fraction is 0. Throws UsageError for a fraction out of [0, 1).
std::vector<bool> hold_out(const Store& store, double fraction);

}  // namespace kessoku::data
