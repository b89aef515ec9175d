#include "runtime/config/config_writer.h"

#include <toml++/toml.h>

#include <sstream>

namespace kessoku::runtime {

namespace {

std::string text_of(bool value) { return value ? "true" : "false"; }
std::string text_of(int64_t value) { return std::to_string(value); }
std::string text_of(uint64_t value) { return std::to_string(value); }
std::string text_of(double value) {
  const std::string text = fmt::format("{}", value);
  return text.find_first_of(".en") == std::string::npos ? text + ".0" : text;
}
std::string text_of(const std::string& value) { return toml_string(value); }
template <typename Second>
std::string text_of(const std::pair<std::string, Second>& pair) {
  return fmt::format("[{}, {}]", toml_string(pair.first), text_of(pair.second));
}
template <typename Item>
std::string text_of(const std::vector<Item>& list) {
  std::string items;
  for (const Item& item : list) items += (items.empty() ? "" : ", ") + text_of(item);
  return "[" + items + "]";
}

}  // namespace

std::string toml_string(const std::string& text) {
  std::ostringstream out;
  out << toml::value<std::string>(text);
  return out.str();
}

std::string value_text(const Field& field) {
  return std::visit([](const auto* value) { return text_of(*value); }, field);
}

std::string changed_keys(const RunConfig& config) {
  RunConfig copy = config;
  std::string text;
  for (const Key& key : all_keys()) {
    if (key.is_default(config)) continue;
    if (key.name.empty()) {
      for (const auto& [glob, weight] : copy.mixture.rules)
        text += fmt::format("{}.{} = {}\n", key.section, toml_string(glob), text_of(weight));
    } else {
      text += fmt::format("{} = {}\n", key.full_name(), value_text(key.field(copy)));
    }
  }
  return text;
}

std::string to_toml(const RunConfig& config) {
  RunConfig copy = config;
  std::string text, section;
  for (const Key& key : all_keys()) {
    if (key.section != section) {
      section = key.section;
      text += fmt::format("\n[{}]\n", section);
    }
    if (key.name.empty()) {
      for (const auto& [glob, weight] : copy.mixture.rules)
        text += fmt::format("{} = {}\n", toml_string(glob), text_of(weight));
    } else {
      text += fmt::format("{} = {}\n", key.name, value_text(key.field(copy)));
    }
  }
  return text;
}

}  // namespace kessoku::runtime
