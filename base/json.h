#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace kessoku {

/// Parses JSON that is nested at most 32 deep: what copies, compares or prints a document recurses.
/// Throws DataError that names `where` and what is wrong.
nlohmann::json parse_json(std::string_view text, const std::string& where);

/// The same, with the keys of objects in the order of the text.
nlohmann::ordered_json parse_ordered_json(std::string_view text, const std::string& where);

/// JSON that every reader takes, on one line or, with `indent`, several: bytes that are not UTF-8
/// (names of files may hold any) are replaced by U+FFFD.
std::string to_text(const nlohmann::json& document, int indent = -1);

}  // namespace kessoku
