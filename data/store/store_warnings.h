#pragma once

#include "data/store/store.h"

namespace kessoku::data {

/// What its dataset's reader warned of, and how many images are much smaller than their bucket or
/// keep little of their area in it. To be told when a store is made and before it is trained on.
std::vector<std::string> store_warnings(const Store& store);

}  // namespace kessoku::data
