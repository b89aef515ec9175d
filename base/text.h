#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace kessoku {

/// The first lines, and how many more there are: "… and 47 more {what}".
std::vector<std::string> shortened(std::vector<std::string> lines, const std::string& what);

std::string first_line(const std::string& text);

/// "1 image", "2 images".
std::string counted(uint64_t number, const std::string& what);

}  // namespace kessoku
