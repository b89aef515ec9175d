#include "data/images/vips_error.h"

#include <algorithm>

namespace kessoku::data {

std::string describe(const vips::VError& error) {
  const std::string text = error.what();
  vips_error_clear();
  std::string line;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    if (end > begin) line += (line.empty() ? "" : "; ") + text.substr(begin, end - begin);
    begin = end + 1;
  }
  return line.substr(0, 200);
}

}  // namespace kessoku::data
