#include "runtime/config/config_reader.h"

#include <algorithm>
#include <sstream>

#include "base/error.h"
#include "base/log.h"
#include "base/text_file.h"
#include "runtime/config/config_writer.h"
#include "runtime/config/unknown_key.h"

namespace kessoku::runtime {

namespace {

toml::table parse(const std::string& text, const std::filesystem::path& where) {
  const size_t first = text.find_first_not_of(" \t\r\n");
  if (first != std::string::npos && text[first] == '{') {
    throw UsageError(fmt::format("{}: is JSON; a run file is TOML (docs/run-file.md has all keys)",
                                 where.string()));
  }
  try {
    return toml::parse(text, where.string());
  } catch (const toml::parse_error& error) {
    throw UsageError(fmt::format("{}, line {}: {}", where.string(), error.source().begin.line,
                                 error.description()));
  }
}

/// A node as TOML on one line, shortened, for messages.
std::string text_of(const toml::node& node) {
  std::ostringstream out;
  node.visit([&](const auto& value) { out << value; });
  std::string text = out.str();
  std::ranges::replace(text, '\n', ' ');
  if (text.size() > 60) {
    size_t end = 57;
    while ((static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;  // within a character
    text.resize(end);
    text += "…";
  }
  return text;
}

bool is_text(const Key& key) {
  RunConfig config;
  return std::holds_alternative<std::string*>(key.field(config));
}

/// Fills a field from a node; false if it is of another type.
struct Reader {
  const toml::node& node;

  bool operator()(bool* field) const { return copy(node.as_boolean(), field); }
  bool operator()(int64_t* field) const { return copy(node.as_integer(), field); }
  bool operator()(uint64_t* field) const {
    const auto* value = node.as_integer();
    if (value == nullptr || value->get() < 0) return false;
    *field = static_cast<uint64_t>(value->get());
    return true;
  }
  bool operator()(double* field) const {
    if (node.is_integer()) {
      *field = static_cast<double>(node.as_integer()->get());
      return true;
    }
    return copy(node.as_floating_point(), field);
  }
  bool operator()(std::string* field) const { return copy(node.as_string(), field); }
  template <typename Item>
  bool operator()(std::vector<Item>* field) const {
    const toml::array* array = node.as_array();
    if (array == nullptr) return false;
    field->clear();
    for (const toml::node& item : *array) {
      Item value{};
      if (!Reader{item}(&value)) return false;
      field->push_back(std::move(value));
    }
    return true;
  }
  template <typename Second>
  bool operator()(std::pair<std::string, Second>* field) const {
    const toml::array* pair = node.as_array();
    return pair != nullptr && pair->size() == 2 && Reader{*pair->get(0)}(&field->first) &&
           Reader{*pair->get(1)}(&field->second);
  }

 private:
  template <typename Value, typename Destination>
  static bool copy(const Value* value, Destination* field) {
    if (value != nullptr) *field = value->get();
    return value != nullptr;
  }
};

/// The lines of a file but empty ones and those that begin with #.
std::vector<std::string> lines_of(const std::string& file) {
  const Text content = read_text_file(file, 1 << 20);
  if (!content.warning.empty()) log_warning("{}: {}", file, content.warning);
  std::istringstream text(content.text);
  std::vector<std::string> lines;
  for (std::string line; std::getline(text, line);) {
    line.erase(0, std::min(line.find_first_not_of(" \t"), line.size()));
    line.erase(line.find_last_not_of(" \t\r") + 1);
    if (!line.empty() && line[0] != '#') lines.push_back(line);
  }
  return lines;
}

}  // namespace

ConfigReader::ConfigReader(const std::string& text, const std::filesystem::path& where)
    : where_(where), root_(parse(text, where)) {}

void ConfigReader::override_with(const std::string& given) {
  const std::string assignment = to_utf8(given);  // TOML is
  const size_t equals = assignment.find('=');
  if (equals == std::string::npos || equals == 0) {
    throw UsageError(fmt::format("--set {}: write --set section.key=value", assignment));
  }
  const std::string full_name = assignment.substr(0, equals);
  const std::string text = assignment.substr(equals + 1);
  toml::table parsed;
  try {
    parsed = toml::parse("value = " + text);
  } catch (const toml::parse_error&) {
  }
  const Key* key = find_key(full_name);
  const bool other_type = key != nullptr && is_text(*key) && !parsed["value"].is_string();
  if (parsed.size() != 1 || other_type) parsed = toml::table{{"value", text}};

  const size_t dot = full_name.find('.');
  toml::table* table = &root_;
  if (dot != std::string::npos) {
    const std::string section = full_name.substr(0, dot);
    if (!root_.contains(section)) root_.insert(section, toml::table{});
    table = root_[section].as_table();
    if (table == nullptr)
      throw UsageError(fmt::format("--set {}: {} is not a section", assignment, section));
  }
  table->insert_or_assign(dot == std::string::npos ? full_name : full_name.substr(dot + 1),
                          *parsed.get("value"));
  overrides_[full_name] = assignment;
}

void ConfigReader::reject_unknown() const {
  const std::vector<std::string> sections = all_sections();
  for (const auto& [name, node] : root_) {
    const std::string key(name.str());
    if (std::ranges::find(sections, key) != sections.end()) {
      if (!node.is_table()) {
        throw UsageError(
            fmt::format("{}: {} is a section: write [{}]", place(key, &node), key, key));
      }
      if (key != "mixture") reject_unknown_in(key, *node.as_table());
    } else if (node.is_table()) {
      throw UsageError(fmt::format("{}: {}", place(key, &node), explain_unknown_section(key)));
    } else if (find_key(key) == nullptr) {
      throw UsageError(fmt::format("{}: {}", place(key, &node), explain_unknown_key(key)));
    }
  }
}

void ConfigReader::reject_unknown_in(const std::string& section, const toml::table& table) const {
  for (const auto& [name, node] : table) {
    const std::string key = section + "." + std::string(name.str());
    if (find_key(key) == nullptr)
      throw UsageError(fmt::format("{}: {}", place(key, &node), explain_unknown_key(key)));
  }
}

void ConfigReader::read(const Key& key, RunConfig& config, bool check) const {
  const toml::table* table = table_of(key);
  if (key.name.empty()) {
    if (table != nullptr) read_rules(key, *table, config.mixture.rules, check);
    return;
  }
  const toml::node* node = table == nullptr ? nullptr : table->get(key.name);
  const Field field = key.field(config);
  if (node == nullptr) {
    if (check && key.required) {
      throw UsageError(
          fmt::format("{}: {} is missing: {}", where_.string(), key.full_name(), key.meaning));
    }
    return;
  }
  if (key.or_file && node->is_string()) {
    *std::get<std::vector<std::string>*>(field) = lines_of(node->as_string()->get());
  } else if (!std::visit(Reader{*node}, field)) {
    refuse(key, text_of(*node), key.allowed());
  }
  if (check && !key.takes(field)) refuse(key, text_of(*node), key.allowed());
}

void ConfigReader::refuse(const Key& key, const std::string& value,
                          const std::string& allowed) const {
  const toml::table* table = table_of(key);
  throw UsageError(
      fmt::format("{}: {} = {}: must be {}",
                  place(key.full_name(), table == nullptr ? nullptr : table->get(key.name)),
                  key.full_name(), value, allowed));
}

const toml::table* ConfigReader::table_of(const Key& key) const {
  return key.section.empty() ? &root_ : root_[key.section].as_table();
}

std::string ConfigReader::place(const std::string& full_name, const toml::node* node) const {
  const auto given = overrides_.find(full_name);
  if (given != overrides_.end()) return "--set " + given->second;
  if (node == nullptr || node->source().begin.line == 0) return where_.string();
  return fmt::format("{}, line {}", where_.string(), node->source().begin.line);
}

void ConfigReader::read_rules(const Key& key, const toml::table& table, data::MixtureRules& rules,
                              bool check) const {
  // toml++ sorts keys by name; the last match wins, so the file's order counts. Those of --set come
  // last.
  std::vector<std::tuple<bool, uint32_t, uint32_t, size_t>> order;
  data::MixtureRules unordered;
  for (const auto& [name, node] : table) {
    const std::string glob(name.str());
    if (const Key* other = find_key("mixture." + glob); other != nullptr && !other->name.empty())
      continue;
    double weight = 0;
    const bool holds = Reader{node}(&weight) && (!check || key.range.holds(weight));
    if (!holds) {
      throw UsageError(fmt::format("{}: mixture.\"{}\" = {}: must be {}",
                                   place("mixture." + glob, &node), glob, text_of(node),
                                   key.allowed()));
    }
    order.emplace_back(overrides_.contains("mixture." + glob), node.source().begin.line,
                       node.source().begin.column, unordered.size());
    unordered.emplace_back(glob, weight);
  }
  std::ranges::sort(order);
  rules.clear();
  for (const auto& place : order) rules.push_back(unordered[std::get<3>(place)]);
}

}  // namespace kessoku::runtime
