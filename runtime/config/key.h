#pragma once

#include <cmath>
#include <functional>
#include <string>
#include <variant>
#include <vector>

#include "runtime/config/config.h"

namespace kessoku::runtime {

/// What it means that a key differs from what a run had before it was resumed; the later, the
/// stricter.
enum class OnResume {
  kFree,      ///< changes nothing that is trained
  kRecorded,  ///< reported and logged
  kRefused,   ///< most often a mistake: needs --allow-change
  kFixed,     ///< needs a new run
};

/// The words of the documents for it: "free" | "recorded" | "refused" | "fixed".
const char* to_string(OnResume on_resume);

using Renames = std::vector<std::pair<std::string, std::string>>;

/// A key's place in a RunConfig.
using Field =
    std::variant<bool*, int64_t*, uint64_t*, double*, std::string*, std::vector<int64_t>*,
                 std::vector<double>*, std::vector<std::string>*, Renames*, data::MixtureRules*>;

/// The numbers that a key takes. Infinities and NaN never are among them.
struct NumberRange {
  double least = -HUGE_VAL, most = HUGE_VAL;
  bool above = false;    ///< `least` itself is excluded
  bool below = false;    ///< `most` itself is excluded
  double or_else = NAN;  ///< one more number, e.g. -1 for "off"

  bool holds(double number) const;
};

/// A key of the run file: all that reading, checking, --set, the resolved file, resuming and the
/// documents need to know of it. Each is declared once, in declare_*.cpp.
struct Key {
  std::string section;  ///< empty: above all sections
  std::string name;     ///< empty: the folder globs of [mixture]
  std::function<Field(RunConfig&)> field;
  std::string meaning;        ///< one line, without the unit
  std::string unit;           ///< e.g. "steps"; empty: none
  std::string page;           ///< of docs/ that says more, e.g. "mixture.md"
  std::string shown_default;  ///< where the value alone does not say it, e.g. "as the model"
  bool required = false;

  NumberRange range;                 ///< of a number, or of each one of a list
  std::vector<std::string> choices;  ///< of a text, or of each one of a list; empty: any
  std::vector<int64_t> numbers;      ///< the only ones, if any
  std::vector<std::string> items;    ///< what each number of a list of fixed length is
  std::function<bool(const std::string&)> matches;  ///< of a text, if it has a form …
  std::string form;                                 ///< … which is said so
  bool or_file = false;  ///< a list of texts, or the name of a file with one a line

  OnResume on_resume = OnResume::kRefused;
  std::function<bool(const RunConfig&)> fixed_if;  ///< where it is fixed though only refused
  std::function<bool(const RunConfig&)> used_if;   ///< if not, it has no effect …
  std::string used_with;                           ///< … because this is missing

  /// "train.steps", "name"; "mixture" of its globs.
  std::string full_name() const;
  bool is_fixed(const RunConfig& config) const;
  /// What may be written, to follow "must be": "a whole number of at least 1".
  std::string allowed() const;
  /// Whether the value may be written. Lists that are empty by default may be empty.
  bool takes(const Field& value) const;
  /// Whether two configurations have the same value here.
  bool same(const RunConfig& a, const RunConfig& b) const;
  bool is_default(const RunConfig& config) const { return same(config, RunConfig()); }
};

/// All keys, in the order of the resolved file.
const std::vector<Key>& all_keys();

/// nullptr if there is none of that full name; "mixture.GLOB" finds the globs of [mixture].
const Key* find_key(const std::string& full_name);

/// All sections, in order.
std::vector<std::string> all_sections();

}  // namespace kessoku::runtime
