#include "base/json.h"

#include <fmt/format.h>

#include "base/error.h"
#include "base/mistaken_file.h"

namespace kessoku {

namespace {

constexpr int kDeepest = 32;

template <typename Json>
Json parse(std::string_view text, const std::string& where) {
  const auto limit_depth = [&](int depth, typename Json::parse_event_t, Json&) {
    if (depth > kDeepest) throw DataError(fmt::format("{}: nested too deeply", where));
    return true;
  };
  try {
    return Json::parse(text, limit_depth);
  } catch (const typename Json::exception& error) {
    const std::string mistaken = text.empty() ? "" : explain_mistaken(text);
    if (!mistaken.empty()) throw DataError(fmt::format("{}: {}", where, mistaken));
    throw DataError(
        fmt::format("{}: not valid JSON: {}", where, std::string(error.what()).substr(0, 200)));
  }
}

}  // namespace

nlohmann::json parse_json(std::string_view text, const std::string& where) {
  return parse<nlohmann::json>(text, where);
}

nlohmann::ordered_json parse_ordered_json(std::string_view text, const std::string& where) {
  return parse<nlohmann::ordered_json>(text, where);
}

std::string to_text(const nlohmann::json& document, int indent) {
  return document.dump(indent, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace kessoku
