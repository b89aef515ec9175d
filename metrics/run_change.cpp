#include "metrics/run_change.h"

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "metrics/html.h"

namespace kessoku::metrics {

using Json = nlohmann::ordered_json;

Json to_json(const RunChange& change) {
  return {{"key", change.key},
          {"before", change.before},
          {"after", change.after},
          {"captions", change.captions},
          {"images_added", change.images_added},
          {"images_removed", change.images_removed},
          {"examples", change.examples}};
}

RunChange run_change_from_json(const Json& object) {
  try {
    return {.key = object.at("key").get<std::string>(),
            .before = object.value("before", ""),
            .after = object.value("after", ""),
            .captions = object.value("captions", uint64_t{0}),
            .images_added = object.value("images_added", uint64_t{0}),
            .images_removed = object.value("images_removed", uint64_t{0}),
            .examples = object.value("examples", uint64_t{0})};
  } catch (const Json::exception& error) {
    throw DataError(fmt::format("changes: {}", error.what()));
  }
}

std::string concerned(const RunChange& change) {
  std::string text;
  const auto add = [&](uint64_t count, const std::string& what) {
    if (count > 0) text += fmt::format("{}{} {}", text.empty() ? "" : ", ", grouped(count), what);
  };
  add(change.captions, fmt::format("captions of {} images", grouped(change.examples)));
  add(change.images_added, "images added");
  add(change.images_removed, "images removed");
  return text;
}

}  // namespace kessoku::metrics
