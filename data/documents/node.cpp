#include "data/documents/node.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "base/error.h"
#include "base/text_file.h"

namespace kessoku::data {

namespace {

/// YAML 1.1's words, in all their cases; JSON's are among them.
constexpr std::string_view kNull[] = {"", "~", "null", "Null", "NULL"};
constexpr std::string_view kTrue[] = {"true", "True", "TRUE", "yes", "Yes",
                                      "YES",  "on",   "On",   "ON"};
constexpr std::string_view kFalse[] = {"false", "False", "FALSE", "no", "No",
                                       "NO",    "off",   "Off",   "OFF"};

template <size_t N>
bool among(const std::string& text, const std::string_view (&words)[N]) {
  return std::ranges::find(words, text) != std::end(words);
}

}  // namespace

std::string read_document_text(const std::filesystem::path& path, uint64_t max_bytes,
                               const OnTextWarning& warn) {
  Text text = read_text_file(path, max_bytes);
  if (!text.warning.empty() && warn) warn(text.warning);
  return std::move(text.text);
}

bool Value::is_null() const { return kind == Kind::kScalar && plain && among(text, kNull); }

const Value* Value::find(std::string_view key) const {
  for (size_t i = keys.size(); i-- > 0;) {
    if (keys[i] == key) return &items[i];
  }
  return nullptr;
}

void Located::fail(const std::string& problem) const {
  throw DataError(fmt::format("{}:{}: {}", file, value.line, problem));
}

std::string Located::text(const char* name) const {
  if (value.kind != Value::Kind::kScalar) fail(fmt::format("{} must be a text", name));
  return value.text;
}

double Located::number(const char* name, double least, double most) const {
  const std::optional<double> number =
      value.kind == Value::Kind::kScalar ? parse_number(value.text) : std::nullopt;
  if (number && *number >= least && *number <= most) return *number;
  const std::string range = std::isinf(most) && std::isinf(least) ? "a number"
                            : std::isinf(most) ? fmt::format("a number from {} upwards", least)
                                               : fmt::format("a number from {} to {}", least, most);
  fail(fmt::format("{} must be {}{}", name, range,
                   value.kind == Value::Kind::kScalar
                       ? fmt::format(", not '{}'", value.text.substr(0, 40))
                       : ""));
}

bool Located::truth(const char* name) const {
  if (value.kind == Value::Kind::kScalar && among(value.text, kTrue)) return true;
  if (value.kind == Value::Kind::kScalar && among(value.text, kFalse)) return false;
  fail(fmt::format("{} must be true or false", name));
}

std::optional<double> parse_number(std::string_view text) {
  if (text.starts_with('+')) {
    text.remove_prefix(1);
    if (text.starts_with('-')) return std::nullopt;
  }
  double value = 0;
  const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || rest != text.data() + text.size() || !std::isfinite(value)) return {};
  return value;
}

}  // namespace kessoku::data
