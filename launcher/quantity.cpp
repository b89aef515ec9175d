#include "launcher/quantity.h"

#include <cctype>
#include <charconv>
#include <cmath>
#include <map>

#include "base/error.h"

namespace kessoku::launcher {

namespace {

/// A positive number at the beginning of a text, and what follows it.
std::optional<std::pair<double, std::string>> split(const std::string& text) {
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || !std::isfinite(number) || number < 0) return std::nullopt;
  std::string unit(end, text.data() + text.size());
  unit.erase(0, unit.find_first_not_of(' '));
  return {{number, unit}};
}

/// Of the unit's first letters, which it takes away.
double take_factor(std::string& unit) {
  const std::string letters = "kmgt";
  const size_t power =
      unit.empty() ? std::string::npos : letters.find(static_cast<char>(std::tolower(unit[0])));
  if (power == std::string::npos) return 1;
  const bool binary = unit.size() > 1 && unit[1] == 'i' && unit.substr(1, 2) != "it";
  unit.erase(0, binary ? 2 : 1);
  return std::pow(binary ? 1024 : 1000, power + 1);
}

}  // namespace

double parse_bandwidth(const std::string& text, const std::string& option) {
  auto parts = split(text);
  if (parts && parts->first > 0) {
    auto& [number, unit] = *parts;
    const double factor = take_factor(unit);
    for (const char* rate : {"/s", "ps"}) {
      if (unit.ends_with(rate)) unit.erase(unit.size() - 2);
    }
    if (unit == "B") return number * factor;
    if (unit == "b" || unit == "bit") return number * factor / 8;
  }
  throw UsageError(fmt::format("{} {}: write a bandwidth as 25GB/s, 400MB/s, 100Gbit/s or 10Gbps",
                               option, text));
}

std::optional<double> read_seconds(const std::string& text) {
  static const std::map<std::string, double> units{{"", 1},      {"s", 1},     {"ms", 1e-3},
                                                   {"us", 1e-6}, {"µs", 1e-6}, {"ns", 1e-9}};
  const auto parts = split(text);
  if (!parts || !units.contains(parts->second)) return std::nullopt;
  return parts->first * units.at(parts->second);
}

double parse_seconds(const std::string& text, const std::string& option) {
  if (const auto seconds = read_seconds(text)) return *seconds;
  throw UsageError(fmt::format("{} {}: write a time as 0.5s, 20ms or 5us", option, text));
}

std::string bytes_text(double bytes) {
  for (const char* unit : {"B", "kB", "MB"}) {
    if (bytes < 999.5) return fmt::format("{:.3g} {}", bytes, unit);
    bytes /= 1000;
  }
  return fmt::format("{:.2f} GB", bytes);
}

std::string seconds_text(double seconds) {
  // What three digits round up to 1000 is one of the next unit.
  if (seconds >= 999.5) return fmt::format("{:.0f} s", seconds);
  if (seconds >= 0.9995 || seconds == 0) return fmt::format("{:.3g} s", seconds);
  if (seconds >= 0.9995e-3) return fmt::format("{:.3g} ms", seconds * 1e3);
  return fmt::format("{:.3g} us", seconds * 1e6);
}

}  // namespace kessoku::launcher
