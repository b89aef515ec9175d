#include "runtime/config/key_documents.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace kessoku::runtime {

namespace {

using nlohmann::json;

/// JSON has one kind of number.
json number(double value) {
  const bool whole = value == std::floor(value) && std::abs(value) < 1e15;
  return whole ? json(static_cast<int64_t>(value)) : json(value);
}

/// A key's default as JSON.
struct Default {
  template <typename Value>
  json operator()(const Value* value) const {
    return *value;
  }
};

/// The JSON Schema of a key's value, by type of field.
struct ValueSchema {
  const Key& key;

  json operator()(const bool* /*field*/) const { return {{"type", "boolean"}}; }
  json operator()(const int64_t* /*field*/) const { return numeric("integer"); }
  json operator()(const uint64_t* /*field*/) const { return numeric("integer"); }
  json operator()(const double* /*field*/) const { return numeric("number"); }
  json operator()(const std::string* field) const {
    json schema = text();
    if (schema.contains("enum") && !key.required) add_unique(schema["enum"], *field);
    if (key.matches) schema["pattern"] = "^[^./][^/]*$";
    return schema;
  }
  json operator()(const std::vector<int64_t>* field) const {
    return fixed_list("integer", field->empty());
  }
  json operator()(const std::vector<double>* field) const {
    return fixed_list("number", field->empty());
  }
  json operator()(const std::vector<std::string>* /*field*/) const {
    const json list{{"type", "array"}, {"items", text()}};
    if (!key.or_file) return list;
    return {{"anyOf", json::array({list, json{{"type", "string"}}})}};
  }
  json operator()(const Renames* /*field*/) const {
    return pairs(json{{"type", "string"}, {"minLength", 1}}, json{{"type", "string"}});
  }
  json operator()(const data::MixtureRules* /*field*/) const {
    if (key.name.empty()) return numeric("number");
    return pairs(json{{"type", "string"}}, numeric("number"));
  }

 private:
  static void add_unique(json& list, const std::string& word) {
    if (std::ranges::find(list, json(word)) == list.end()) list.push_back(word);
  }
  static json pairs(const json& first, const json& second) {
    const json pair{{"type", "array"},
                    {"items", json::array({first, second})},
                    {"minItems", 2},
                    {"maxItems", 2}};
    return {{"type", "array"}, {"items", pair}};
  }
  json text() const {
    json schema{{"type", "string"}};
    if (!key.choices.empty()) schema["enum"] = key.choices;
    return schema;
  }
  json numeric(const char* type) const {
    json schema{{"type", type}};
    if (!key.numbers.empty()) schema["enum"] = key.numbers;
    const NumberRange& range = key.range;
    if (std::isfinite(range.least))
      schema[range.above ? "exclusiveMinimum" : "minimum"] = number(range.least);
    if (std::isfinite(range.most))
      schema[range.below ? "exclusiveMaximum" : "maximum"] = number(range.most);
    if (std::isnan(range.or_else)) return schema;
    return {{"anyOf", json::array({schema, json{{"const", number(range.or_else)}}})}};
  }
  json fixed_list(const char* type, bool or_empty) const {
    const size_t length = key.items.size();
    const json list{
        {"type", "array"}, {"items", numeric(type)}, {"minItems", length}, {"maxItems", length}};
    if (!or_empty) return list;
    return {{"anyOf", json::array({list, json{{"type", "array"}, {"maxItems", 0}}})}};
  }
};

json default_of(const Key& key) {
  RunConfig config;
  return std::visit(Default{}, key.field(config));
}

json schema_of(const Key& key) {
  RunConfig config;
  json schema = std::visit(ValueSchema{key}, key.field(config));
  schema["description"] =
      explanation(key) + (key.unit.empty() ? "" : fmt::format(" [{}]", key.unit));
  if (!key.required && !key.name.empty()) schema["default"] = default_of(key);
  return schema;
}

/// Text for a table's cell.
std::string markdown(const std::string& text) {
  std::string escaped;
  for (const char c : text) {
    if (c == '|' || c == '*') escaped += '\\';
    escaped += c;
  }
  return escaped;
}

}  // namespace

std::string shown_default(const Key& key) {
  if (key.required) return "";
  if (!key.shown_default.empty()) return key.shown_default;
  const std::string text = default_of(key).dump();
  if (text == "\"\"") return "";
  return key.unit.empty() ? text : text + " " + key.unit;
}

std::string explanation(const Key& key) {
  std::string text = key.meaning;
  if (!key.used_with.empty()) text += fmt::format("; only with {}", key.used_with);
  return text;
}

nlohmann::json describe(const Key& key) {
  return {{"key", key.full_name()},
          {"default", key.required ? json() : default_of(key)},
          {"required", key.required},
          {"allowed", key.allowed()},
          {"unit", key.unit},
          {"meaning", key.meaning},
          {"page", key.page.empty() ? "" : "docs/" + key.page},
          {"on_resume", to_string(key.on_resume)}};
}

std::string markdown_table() {
  std::string table =
      "| key | default | allowed | meaning | on resume |\n"
      "|---|---|---|---|---|\n";
  for (const Key& key : all_keys()) {
    std::string meaning = markdown(explanation(key));
    if (!key.page.empty()) {
      meaning += fmt::format(" ([{}]({}))", key.page.substr(0, key.page.find('.')), key.page);
    }
    table += fmt::format("| `{}` | {} | {} | {} | {} |\n",
                         key.name.empty() ? key.section + ".\"glob\"" : key.full_name(),
                         key.required ? "**required**" : markdown(shown_default(key)),
                         markdown(key.allowed()), meaning, to_string(key.on_resume));
  }
  return table;
}

nlohmann::json json_schema() {
  json root{{"$schema", "http://json-schema.org/draft-07/schema#"},
            {"title", "Kessoku run file"},
            {"type", "object"},
            {"additionalProperties", false}};
  json& properties = root["properties"];
  for (const Key& key : all_keys()) {
    if (key.section.empty()) {
      properties[key.name] = schema_of(key);
      continue;
    }
    json& section = properties[key.section];
    section["type"] = "object";
    if (key.name.empty()) {
      section["additionalProperties"] = schema_of(key);
    } else {
      section["properties"][key.name] = schema_of(key);
    }
    if (!section.contains("additionalProperties")) section["additionalProperties"] = false;
  }
  return root;
}

}  // namespace kessoku::runtime
