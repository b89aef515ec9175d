#include <nlohmann/json.hpp>

#include "base/error.h"
#include "data/sampling/glob.h"
#include "launcher/commands.h"
#include "runtime/config/key_documents.h"
#include "runtime/config/unknown_key.h"

namespace kessoku::launcher {

namespace {

/// Those whose names hold the pattern, or match it where it has a *.
std::vector<runtime::Key> matching_keys(const std::string& pattern) {
  std::vector<runtime::Key> keys;
  for (const runtime::Key& key : runtime::all_keys()) {
    const std::string name = key.full_name();
    if (name.find(pattern) != std::string::npos || data::glob_matches(pattern, name))
      keys.push_back(key);
  }
  if (keys.empty()) throw UsageError(runtime::explain_unknown_key(pattern));
  return keys;
}

void print(const runtime::Key& key) {
  const std::string value = runtime::shown_default(key);
  fmt::print("{}{}\n    {}{}\n    {}; on resume: {}\n", key.full_name(),
             key.required    ? " (required)"
             : value.empty() ? ""
                             : " = " + value,
             runtime::explanation(key), key.page.empty() ? "" : " (docs/" + key.page + ")",
             key.allowed(), to_string(key.on_resume));
}

}  // namespace

void run(const KeysArguments& arguments) {
  if (arguments.markdown) return fmt::print("{}", runtime::markdown_table());
  if (arguments.schema) return fmt::print("{}\n", runtime::json_schema().dump(1));
  nlohmann::json list = nlohmann::json::array();
  for (const runtime::Key& key : matching_keys(arguments.pattern)) {
    if (arguments.json) {
      list.push_back(describe(key));
    } else {
      print(key);
    }
  }
  if (arguments.json) fmt::print("{}\n", list.dump(1));
}

}  // namespace kessoku::launcher
