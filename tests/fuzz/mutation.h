#pragma once

#include <cstdint>
#include <string>

#include "base/random.h"

namespace kessoku::fuzz {

/// `content` with one to eight changes: bits, bytes, numbers in binary or as text, parts that are
/// cut off, cut out, doubled or exchanged. Beginning and end, where headers are, are hit most.
std::string mutate(std::string content, RandomStream& random);

}  // namespace kessoku::fuzz
