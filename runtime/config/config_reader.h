#pragma once

#include <toml++/toml.h>

#include <map>

#include "runtime/config/key.h"

namespace kessoku::runtime {

/// A run file as it was parsed, with the values of --set put over it.
class ConfigReader {
 public:
  /// `where` names the file in errors.
  ConfigReader(const std::string& text, const std::filesystem::path& where);

  /// Puts "section.key=value" over the file. A value that is not TOML is text, and so is any for a
  /// key that takes text: --set name=2024-05-01.
  void override_with(const std::string& assignment);

  /// Throws UsageError for a key that there is not, with what was probably meant.
  void reject_unknown() const;

  /// The value of a key, if there is one; throws UsageError for a wrong type, or, if `check`, for a
  /// value that the key does not take.
  void read(const Key& key, RunConfig& config, bool check) const;

  /// Throws UsageError: "run.toml, line 12: train.steps = 0: must be {allowed}".
  [[noreturn]] void refuse(const Key& key, const std::string& value,
                           const std::string& allowed) const;

 private:
  const toml::table* table_of(const Key& key) const;
  /// nullptr if the file does not have it.
  const toml::node* find(const std::string& full_name) const;
  /// "run.toml, line 12" or "--set train.steps=0", or the file where a key has no line.
  std::string place(const std::string& full_name, const toml::node* node) const;
  void reject_unknown_in(const std::string& section, const toml::table& table) const;
  void read_rules(const Key& key, const toml::table& table, data::MixtureRules& rules,
                  bool check) const;

  std::filesystem::path where_;
  toml::table root_;
  std::map<std::string, std::string> overrides_;  ///< full name → as given
};

}  // namespace kessoku::runtime
