#include "data/images/color.h"

#include <fmt/format.h>

#include <charconv>

#include "base/error.h"

namespace kessoku::data {

namespace {

/// Reads a number of this base from `text` and takes it away, with the comma after it.
bool take(std::string_view& text, size_t digits, int base, uint8_t& value) {
  const char* end = text.data() + std::min(digits, text.size());
  const auto [rest, error] = std::from_chars(text.data(), end, value, base);
  if (error != std::errc()) return false;
  text.remove_prefix(static_cast<size_t>(rest - text.data()));
  if (base == 10 && text.starts_with(',') && text.size() > 1) text.remove_prefix(1);
  return true;
}

}  // namespace

Color parse_color(const std::string& text) {
  if (text == "white") return kWhite;
  if (text == "black") return {0, 0, 0};
  if (text == "grey" || text == "gray") return {128, 128, 128};
  const bool hex = text.starts_with('#');
  std::string_view rest = std::string_view(text).substr(hex ? 1 : 0);
  const bool shape =
      hex ? rest.size() == 6 : std::ranges::count(rest, ',') == 2 && !rest.starts_with(',');
  Color color{};
  bool good = shape;
  for (uint8_t& value : color) good = good && take(rest, hex ? 2 : 3, hex ? 16 : 10, value);
  if (!good || !rest.empty()) {
    throw UsageError(fmt::format(
        "'{}' is no color; write white, black, gray, #rrggbb, or three numbers from 0 to 255 as "
        "255,255,255",
        text));
  }
  return color;
}

}  // namespace kessoku::data
