#pragma once

#include <string>
#include <string_view>

namespace kessoku {

/// What people have in place of the file they meant, and what to do: a Git LFS pointer, a web page,
/// a server's error message, nothing at all. Empty if `content`, the file's beginning, is none.
std::string explain_mistaken(std::string_view content);

}  // namespace kessoku
