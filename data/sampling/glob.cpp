#include "data/sampling/glob.h"

namespace kessoku::data {

bool glob_matches(std::string_view pattern, std::string_view path) {
  // matches[p][i]: pattern from p on fits path from i on. Filled from the ends, so nothing
  // backtracks.
  const size_t rows = pattern.size() + 1, columns = path.size() + 1;
  std::vector<char> matches(rows * columns, 0);
  const auto at = [&](size_t p, size_t i) -> char& { return matches[p * columns + i]; };
  at(pattern.size(), path.size()) = 1;
  for (size_t p = pattern.size(); p-- > 0;) {
    const bool star = pattern[p] == '*';
    const bool deep = star && pattern.substr(p, 2) == "**";
    const bool folders = deep && pattern.substr(p, 3) == "**/";
    for (size_t i = columns; i-- > 0;) {
      const bool more = i < path.size();
      if (!star) {
        at(p, i) = more && pattern[p] == path[i] && at(p + 1, i + 1);
      } else if (deep) {
        // No level at all only where a level could begin: "**/b" fits "b" and "a/b", not "ab".
        const bool level_begins = i == 0 || path[i - 1] == '/';
        const bool swallow = more && at(p, i + 1);
        const bool end = folders ? level_begins && at(p + 3, i) : at(p + 2, i) != 0;
        at(p, i) = swallow || end;
      } else {
        at(p, i) = at(p + 1, i) || (more && path[i] != '/' && at(p, i + 1));
      }
    }
  }
  return at(0, 0) != 0;
}

}  // namespace kessoku::data
