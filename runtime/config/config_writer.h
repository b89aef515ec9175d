#pragma once

#include <toml++/toml.h>

#include <sstream>

#include "runtime/config/config.h"

namespace kessoku::runtime {

inline std::string quoted(const std::string& text) {
  std::ostringstream out;
  out << toml::value<std::string>(text);
  return out.str();
}

/// A visitor of `visit_fields` that writes all fields as TOML.
class ConfigWriter {
 public:
  template <typename Field>
  void operator()(const char* section, const char* key, const Field& field) {
    if (section_ != section) {
      section_ = section;
      text_ += fmt::format("\n[{}]\n", section_);
    }
    if constexpr (std::is_same_v<Field, data::MixtureRules>) {
      if (*key == '\0') {
        for (const auto& [pattern, weight] : field)
          text_ += fmt::format("{} = {}\n", quoted(pattern), number(weight));
        return;
      }
    }
    text_ += fmt::format("{} = {}\n", key, value(field));
  }
  std::string text() const { return text_; }

 private:
  static std::string number(double value) {
    const std::string text = fmt::format("{}", value);
    return text.find_first_of(".en") == std::string::npos ? text + ".0" : text;
  }
  static std::string value(bool field) { return field ? "true" : "false"; }
  static std::string value(double field) { return number(field); }
  static std::string value(uint64_t field) { return fmt::format("{}", field); }
  static std::string value(int64_t field) { return fmt::format("{}", field); }
  static std::string value(const std::string& field) { return quoted(field); }
  template <typename Second>
  static std::string value(const std::pair<std::string, Second>& field) {
    return fmt::format("[{}, {}]", quoted(field.first), value(field.second));
  }
  template <typename Item>
  static std::string value(const std::vector<Item>& field) {
    std::string items;
    for (const Item& item : field) items += (items.empty() ? "" : ", ") + value(item);
    return "[" + items + "]";
  }

  std::string section_;
  std::string text_;
};

}  // namespace kessoku::runtime
