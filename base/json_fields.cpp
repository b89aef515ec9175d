#include "base/json_fields.h"

#include <cmath>

#include "base/error.h"
#include "base/text_file.h"

namespace kessoku {

using nlohmann::json;

namespace {

constexpr size_t kMaxList = 16;

bool is_count(const json& value, int64_t max, int64_t min = 1) {
  if (value.is_number_unsigned() && value.get<uint64_t>() > static_cast<uint64_t>(max))
    return false;
  return value.is_number_integer() && value.get<int64_t>() >= min && value.get<int64_t>() <= max;
}

}  // namespace

JsonFields::JsonFields(const json& json, std::string where)
    : json_(json), where_(std::move(where)) {
  if (!json.is_object()) throw DataError(fmt::format("{}: not a JSON object", where_));
}

void JsonFields::fail(const std::string& key, const std::string& problem) const {
  throw DataError(fmt::format("{}: \"{}\": {}", where_, key, problem));
}

const json* JsonFields::find(const char* key) const {
  const auto found = json_.find(key);
  return found == json_.end() || found->is_null() ? nullptr : &*found;
}

void JsonFields::read(const char* key, int64_t& value, int64_t max, int64_t min) const {
  const json* field = find(key);
  if (field == nullptr) return;
  if (!is_count(*field, max, min)) {
    fail(key, fmt::format("must be a whole number in {}…{}", min, max));
  }
  value = field->get<int64_t>();
}

void JsonFields::read(const char* key, double& value) const {
  const json* field = find(key);
  if (field == nullptr) return;
  if (!field->is_number()) fail(key, "must be a number");
  value = field->get<double>();
  if (!std::isfinite(value)) fail(key, "must be finite");
}

void JsonFields::read(const char* key, bool& value) const {
  const json* field = find(key);
  if (field == nullptr) return;
  if (!field->is_boolean()) fail(key, "must be true or false");
  value = field->get<bool>();
}

void JsonFields::read(const char* key, std::optional<bool>& value) const {
  if (find(key) != nullptr) read(key, value.emplace());
}

void JsonFields::read(const char* key, std::string& value) const {
  const json* field = find(key);
  if (field == nullptr) return;
  if (!field->is_string()) fail(key, "must be a string");
  value = field->get<std::string>();
}

void JsonFields::read(const char* key, std::vector<int64_t>& value) const {
  const json* field = find(key);
  if (field == nullptr) return;
  const json list = field->is_array() ? *field : json::array({*field});
  if (list.empty() || list.size() > kMaxList) fail(key, "must have 1 to 16 entries");
  value.clear();
  for (const json& entry : list) {
    if (!is_count(entry, 1 << 20)) fail(key, "must hold whole numbers in 1…1048576");
    value.push_back(entry.get<int64_t>());
  }
}

void JsonFields::read_size(const char* key, std::array<int64_t, 2>& value) const {
  std::vector<int64_t> sides{value.begin(), value.end()};
  read(key, sides);
  if (sides.size() > 2) fail(key, "must be one number or [height, width]");
  value = {sides.front(), sides.back()};
}

bool JsonFields::is_null(const char* key) const {
  const auto found = json_.find(key);
  return found != json_.end() && found->is_null();
}

void JsonFields::read(const char* key, std::vector<std::string>& value) const {
  const json* field = find(key);
  if (field == nullptr) return;
  if (!field->is_array() || field->empty() || field->size() > kMaxList) {
    fail(key, "must be a list of 1 to 16 strings");
  }
  value.clear();
  for (const json& entry : *field) {
    if (!entry.is_string()) fail(key, "must be a list of strings");
    value.push_back(entry.get<std::string>());
  }
}

void JsonFields::require(const char* key, const std::vector<json>& supported) const {
  const json* field = find(key);
  if (field == nullptr) return;
  for (const json& value : supported) {
    if (*field == value) return;
  }
  const std::string found = field->dump(-1, ' ', false, json::error_handler_t::replace);
  fail(key, supported.empty()
                ? fmt::format("{} is not supported; leave it out", found.substr(0, 100))
                : fmt::format("{} is not supported; Stable Diffusion 1.x has {}",
                              found.substr(0, 100), supported.front().dump()));
}

json size_to_json(const std::array<int64_t, 2>& size) {
  return size[0] == size[1] ? json(size[0]) : json(size);
}

std::string in_quotes(std::string_view text) {
  return json(text.substr(0, 60)).dump(-1, ' ', false, json::error_handler_t::replace);
}

json read_json_file(const std::string& path, uint64_t max_bytes) {
  json parsed = parse_json(read_utf8_file(path, max_bytes), path);
  if (!parsed.is_object()) throw DataError(fmt::format("{}: not a JSON object", path));
  return parsed;
}

}  // namespace kessoku
