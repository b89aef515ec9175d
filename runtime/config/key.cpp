#include "runtime/config/key.h"

#include <algorithm>

#include "runtime/config/config_writer.h"
#include "runtime/config/declare.h"

namespace kessoku::runtime {

namespace {

/// `a`, `b` or `c`.
std::string listed(const std::vector<std::string>& words) {
  if (words.size() == 1) return words[0];
  return fmt::format("{} or {}", fmt::join(words.begin(), words.end() - 1, ", "), words.back());
}

/// " of at least 1"; empty if all numbers are allowed.
std::string describe(const NumberRange& range) {
  std::string text;
  const bool bounded = std::isfinite(range.least), limited = std::isfinite(range.most);
  if (bounded && limited && !range.above && !range.below) {
    text = fmt::format(" from {} to {}", range.least, range.most);
  } else {
    if (bounded) text += fmt::format(" {} {}", range.above ? "above" : "of at least", range.least);
    if (bounded && limited) text += " and";
    if (limited) text += fmt::format(" {} {}", range.below ? "below" : "of at most", range.most);
  }
  if (!std::isnan(range.or_else)) text += fmt::format(", or {}", range.or_else);
  return text;
}

/// What `allowed` says of each type of field.
struct Allowed {
  const Key& key;

  std::string operator()(const bool* /*field*/) const { return "true or false"; }
  std::string operator()(const int64_t* /*field*/) const { return whole_number(); }
  std::string operator()(const uint64_t* /*field*/) const { return whole_number(); }
  std::string operator()(const double* /*field*/) const { return "a number" + describe(key.range); }
  std::string operator()(const std::string* /*field*/) const { return text(); }
  std::string operator()(const std::vector<int64_t>* /*field*/) const {
    return named("whole numbers");
  }
  std::string operator()(const std::vector<double>* /*field*/) const { return named("numbers"); }
  std::string operator()(const std::vector<std::string>* /*field*/) const {
    if (!key.choices.empty()) return "a list of " + text();
    return fmt::format("a list of texts, [\"…\", …]{}",
                       key.or_file ? ", or the name of a file with one a line" : "");
  }
  std::string operator()(const Renames* /*field*/) const {
    return R"(pairs, [["from", "to"], …], neither "from" empty)";
  }
  std::string operator()(const data::MixtureRules* /*field*/) const {
    if (key.name.empty()) return "a number" + describe(key.range);
    return fmt::format(R"(pairs, [["name", 0.5], …], each number{})", describe(key.range));
  }

 private:
  std::string whole_number() const {
    if (key.numbers.empty()) return "a whole number" + describe(key.range);
    std::vector<std::string> words;
    for (const int64_t number : key.numbers) words.push_back(std::to_string(number));
    return listed(words);
  }
  std::string text() const {
    if (!key.form.empty()) return key.form;
    if (key.choices.empty()) return key.required ? "text, not empty" : "text in quotes";
    std::vector<std::string> words;
    for (const std::string& choice : key.choices) words.push_back(fmt::format("\"{}\"", choice));
    return listed(words);
  }
  std::string named(const char* what) const {
    return fmt::format("[{}], {}{}", fmt::join(key.items, ", "), what, describe(key.range));
  }
};

/// Whether `takes` allows a value, by type of field.
struct Takes {
  const Key& key;

  bool operator()(const bool* /*field*/) const { return true; }
  bool operator()(const int64_t* field) const { return number(*field); }
  bool operator()(const uint64_t* field) const { return number(*field); }
  bool operator()(const double* field) const { return number(*field); }
  bool operator()(const std::string* field) const { return text(*field); }
  bool operator()(const std::vector<int64_t>* field) const { return all_numbers(*field); }
  bool operator()(const std::vector<double>* field) const { return all_numbers(*field); }
  bool operator()(const std::vector<std::string>* field) const {
    return std::ranges::all_of(*field, [&](const std::string& one) { return text(one); });
  }
  bool operator()(const Renames* field) const {
    return std::ranges::none_of(*field, [](const auto& pair) { return pair.first.empty(); });
  }
  bool operator()(const data::MixtureRules* field) const {
    return std::ranges::all_of(*field, [&](const auto& pair) { return number(pair.second); });
  }

 private:
  template <typename Number>
  bool number(Number value) const {
    if (!key.numbers.empty())
      return std::ranges::find(key.numbers, static_cast<int64_t>(value)) != key.numbers.end();
    return key.range.holds(static_cast<double>(value));
  }
  template <typename Number>
  bool all_numbers(const std::vector<Number>& values) const {
    return values.size() == key.items.size() &&
           std::ranges::all_of(values, [&](Number value) { return number(value); });
  }
  bool text(const std::string& value) const {
    if (key.required && value.empty()) return false;
    if (key.matches) return key.matches(value);
    return key.choices.empty() || std::ranges::find(key.choices, value) != key.choices.end();
  }
};

}  // namespace

const char* to_string(OnResume on_resume) {
  switch (on_resume) {
    case OnResume::kFree:
      return "free";
    case OnResume::kRecorded:
      return "recorded";
    case OnResume::kRefused:
      return "refused";
    case OnResume::kFixed:
      return "fixed";
  }
  return "";
}

bool NumberRange::holds(double number) const {
  if (!std::isfinite(number)) return false;
  if (number == or_else) return true;
  return (above ? number > least : number >= least) && (below ? number < most : number <= most);
}

std::string Key::full_name() const {
  if (section.empty()) return name;
  return name.empty() ? section : section + "." + name;
}

bool Key::is_fixed(const RunConfig& config) const {
  return on_resume == OnResume::kFixed || (fixed_if && fixed_if(config));
}

std::string Key::allowed() const {
  RunConfig config;
  return std::visit(Allowed{*this}, field(config));
}

bool Key::takes(const Field& value) const {
  RunConfig config;
  // What stands for "as the model says", or for none.
  if (!required && value_text(value) == value_text(field(config))) return true;
  return std::visit(Takes{*this}, value);
}

bool Key::same(const RunConfig& a, const RunConfig& b) const {
  RunConfig left = a, right = b;
  return value_text(field(left)) == value_text(field(right));
}

const std::vector<Key>& all_keys() {
  static const std::vector<Key> keys = [] {
    std::vector<Key> declared;
    declare_run(declared);
    declare_data(declared);
    declare_train(declared);
    declare_optimizer(declared);
    declare_communication(declared);
    declare_output(declared);
    return declared;
  }();
  return keys;
}

const Key* find_key(const std::string& full_name) {
  for (const Key& key : all_keys()) {
    if (key.full_name() == full_name && !key.name.empty()) return &key;
  }
  for (const Key& key : all_keys()) {
    if (key.name.empty() && full_name.starts_with(key.section + ".")) return &key;
  }
  return nullptr;
}

std::vector<std::string> all_sections() {
  std::vector<std::string> sections;
  for (const Key& key : all_keys()) {
    if (!key.section.empty() && std::ranges::find(sections, key.section) == sections.end())
      sections.push_back(key.section);
  }
  return sections;
}

}  // namespace kessoku::runtime
