#pragma once

#include "runtime/config/key.h"

namespace kessoku::runtime {

/// Says more of a key that was just declared.
class Declared {
 public:
  explicit Declared(Key& key) : key_(key) {}

  Declared unit(const char* unit) { return set(key_.unit, unit); }
  Declared page(const char* page) { return set(key_.page, page); }
  Declared shown_default(const char* text) { return set(key_.shown_default, text); }
  Declared required() { return set(key_.required, true); }

  Declared at_least(double least) { return set(key_.range.least, least); }
  Declared above(double least) {
    key_.range.above = true;
    return at_least(least);
  }
  Declared below(double most) {
    key_.range.below = true;
    return set(key_.range.most, most);
  }
  Declared from_to(double least, double most) {
    key_.range.most = most;
    return at_least(least);
  }
  Declared probability() { return from_to(0, 1); }
  Declared or_else(double number) { return set(key_.range.or_else, number); }
  Declared one_of(std::vector<std::string> choices) { return set(key_.choices, choices); }
  Declared one_of_numbers(std::vector<int64_t> numbers) { return set(key_.numbers, numbers); }
  Declared items(std::vector<std::string> names) { return set(key_.items, names); }
  Declared matches(bool (*matches)(const std::string&), const char* form) {
    key_.matches = matches;
    return set(key_.form, form);
  }
  Declared or_file() { return set(key_.or_file, true); }

  Declared on_resume(OnResume on_resume) { return set(key_.on_resume, on_resume); }
  Declared fixed_if(bool (*fixed)(const RunConfig&)) { return set(key_.fixed_if, fixed); }
  /// Without `what`, which `used` tells, the key has no effect: a warning where it is set.
  Declared only_with(const char* what, bool (*used)(const RunConfig&)) {
    key_.used_if = used;
    return set(key_.used_with, what);
  }

 private:
  template <typename Member, typename Value>
  Declared set(Member& member, const Value& value) {
    member = value;
    return *this;
  }

  Key& key_;
};

/// Declares the keys of a section, whose values `part` of a RunConfig holds:
///
///     Section key(keys, "ema", &RunConfig::ema);
///     key("decay", &RunConfig::Ema::decay, "of the moving average").at_least(0).below(1);
template <typename GetPart>
class Section {
 public:
  Section(std::vector<Key>& keys, const char* name, GetPart part)
      : keys_(keys), name_(name), part_(part) {}

  /// `get` is a member of the part, or a function from the part to the value.
  template <typename Get>
  Declared operator()(const char* name, Get get, const char* meaning) const {
    Key& key = keys_.emplace_back();
    key.section = name_;
    key.name = name;
    key.meaning = meaning;
    key.field = [part = part_, get](RunConfig& config) -> Field {
      return &std::invoke(get, std::invoke(part, config));
    };
    RunConfig config;
    if (std::holds_alternative<uint64_t*>(key.field(config))) key.range.least = 0;
    return Declared(key);
  }

 private:
  std::vector<Key>& keys_;
  const char* name_;
  GetPart part_;
};

// In the order of the resolved file.
void declare_run(std::vector<Key>& keys);
void declare_data(std::vector<Key>& keys);
void declare_train(std::vector<Key>& keys);
void declare_optimizer(std::vector<Key>& keys);
void declare_communication(std::vector<Key>& keys);
void declare_output(std::vector<Key>& keys);

}  // namespace kessoku::runtime
