#include "base/text.h"

#include <fmt/format.h>

namespace kessoku {

std::vector<std::string> shortened(std::vector<std::string> lines, const std::string& what) {
  constexpr size_t kMost = 10;
  if (lines.size() <= kMost + 1) return lines;
  const size_t more = lines.size() - kMost;
  lines.resize(kMost);
  lines.push_back(fmt::format("… and {} more {}", more, what));
  return lines;
}

std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }

std::string counted(uint64_t number, const std::string& what) {
  return fmt::format("{} {}{}", number, what, number == 1 ? "" : "s");
}

}  // namespace kessoku
