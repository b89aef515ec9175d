#pragma once

#include <string_view>

namespace kessoku::data {

/// Whether the whole `path` ("a/b/c") fits `pattern`: `*` stands for any characters within one
/// level, `**` for any characters across levels, and `**/` also for no level at all. All other
/// characters stand for themselves. Time is the product of the lengths, whatever the pattern.
bool glob_matches(std::string_view pattern, std::string_view path);

}  // namespace kessoku::data
