#pragma once

#include <toml++/toml.h>

#include "base/error.h"
#include "runtime/config/config.h"

namespace kessoku::runtime {

/// "run.toml, line 12" for errors; values given by --set have no line of the file.
inline std::string place(const std::filesystem::path& file, const toml::node& node) {
  const auto line = node.source().begin.line;
  return line == 0 || !node.source().path ? "--set"
                                          : fmt::format("{}, line {}", file.string(), line);
}

/// A visitor of `visit_fields` that fills the fields from a TOML table; what is not there keeps its
/// default.
class ConfigReader {
 public:
  ConfigReader(const std::filesystem::path& file, const toml::table& root)
      : file_(file), root_(root) {}

  template <typename Field>
  void operator()(const char* section, const char* key, Field& field) {
    known_.emplace_back(section, key);
    const toml::table* table = *section ? root_[section].as_table() : &root_;
    if (table == nullptr) return;
    if constexpr (std::is_same_v<Field, data::MixtureRules>) {
      if (*key == '\0') return read_rules(*table, field);
    }
    if (const toml::node* node = table->get(key)) {
      read(*node, *section ? fmt::format("{}.{}", section, key) : key, field);
    }
  }

  /// Every key of the file must have been asked for.
  void reject_unknown() const {
    for (const auto& [key, node] : root_) {
      const std::string name(key.str());
      if (is_section(name)) {
        if (!node.is_table()) fail(node, name, "is a section: write [" + name + "]");
        if (name != "mixture") reject_unknown_in(name, *node.as_table());
      } else if (!is_known("", name)) {
        fail_unknown(node, name, nearest_key(name));
      }
    }
  }

 private:
  [[noreturn]] void fail(const toml::node& node, const std::string& key,
                         const std::string& what) const {
    throw UsageError(fmt::format("{}: {} {}", place(file_, node), key, what));
  }
  [[noreturn]] void fail_unknown(const toml::node& node, const std::string& key,
                                 const std::string& nearest) const {
    fail(node, key,
         "is not a key of a run file" +
             (nearest.empty() ? std::string() : fmt::format("; did you mean {}?", nearest)));
  }

  template <typename Integer>
  requires std::is_integral_v<Integer>
  void read(const toml::node& node, const std::string& key, Integer& field) const {
    if constexpr (std::is_same_v<Integer, bool>) {
      if (!node.is_boolean()) fail(node, key, "must be true or false");
      field = node.as_boolean()->get();
    } else {
      if (!node.is_integer()) fail(node, key, "must be a whole number");
      const int64_t value = node.as_integer()->get();
      if (std::is_unsigned_v<Integer> && value < 0) fail(node, key, "must not be negative");
      field = static_cast<Integer>(value);
    }
  }
  void read(const toml::node& node, const std::string& key, double& field) const {
    const auto value = node.value<double>();
    if (!value || !(node.is_floating_point() || node.is_integer()))
      fail(node, key, "must be a number");
    field = *value;
  }
  void read(const toml::node& node, const std::string& key, std::string& field) const {
    if (!node.is_string()) fail(node, key, "must be text in quotes");
    field = node.as_string()->get();
  }
  template <typename Item>
  void read(const toml::node& node, const std::string& key, std::vector<Item>& field) const {
    if (!node.is_array()) fail(node, key, "must be a list in [ ]");
    field.clear();
    for (const toml::node& item : *node.as_array()) read(item, key, field.emplace_back());
  }
  template <typename Second>
  void read(const toml::node& node, const std::string& key,
            std::pair<std::string, Second>& field) const {
    const toml::array* pair = node.as_array();
    if (pair == nullptr || pair->size() != 2) {
      fail(node, key,
           std::is_same_v<Second, double> ? R"(must be pairs: [["name", 0.5], ...])"
                                          : R"(must be pairs: [["from", "to"], ...])");
    }
    read(*pair->get(0), key, field.first);
    read(*pair->get(1), key, field.second);
  }

  void read_rules(const toml::table& table, data::MixtureRules& rules) const {
    std::vector<std::pair<toml::source_position, size_t>> order;
    data::MixtureRules unordered;
    for (const auto& [key, node] : table) {
      if (key.str() == "pass_draws") continue;
      double weight = 0;
      read(node, "mixture.\"" + std::string(key.str()) + "\"", weight);
      order.emplace_back(node.source().begin, unordered.size());
      unordered.emplace_back(key.str(), weight);
    }
    // toml++ sorts keys by name; the last match wins, so the file's order counts. Lines of --set
    // (0) come last.
    std::stable_sort(order.begin(), order.end(), [](const auto& a, const auto& b) {
      return std::pair(a.first.line - 1, a.first.column) <
             std::pair(b.first.line - 1, b.first.column);
    });
    rules.clear();
    for (const auto& [position, index] : order) rules.push_back(unordered[index]);
  }

  bool is_section(const std::string& name) const {
    return std::any_of(known_.begin(), known_.end(),
                       [&](const auto& k) { return k.first == name && !name.empty(); });
  }
  bool is_known(const std::string& section, const std::string& key) const {
    return std::find(known_.begin(), known_.end(), std::pair(section, key)) != known_.end();
  }
  void reject_unknown_in(const std::string& section, const toml::table& table) const {
    for (const auto& [key, node] : table) {
      const std::string name(key.str());
      if (!is_known(section, name))
        fail_unknown(node, section + "." + name, nearest_key(section + "." + name));
    }
  }
  std::string nearest_key(const std::string& key) const {
    std::vector<std::string> candidates;
    for (const auto& [section, name] : known_) {
      if (!section.empty()) candidates.push_back(section);
      if (!name.empty()) candidates.push_back(section.empty() ? name : section + "." + name);
    }
    std::string nearest = nearest_word(key, candidates);
    if (!nearest.empty()) return nearest;
    // A right key in the wrong section.
    const std::string bare = key.substr(key.find('.') + 1);
    for (const auto& [section, name] : known_) {
      if (name == bare) return section.empty() ? name : section + "." + name;
    }
    return {};
  }

  const std::filesystem::path& file_;
  const toml::table& root_;
  std::vector<std::pair<std::string, std::string>> known_;
};

}  // namespace kessoku::runtime
