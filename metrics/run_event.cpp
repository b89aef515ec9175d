#include "metrics/run_event.h"

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "metrics/html.h"

namespace kessoku::metrics {

namespace {

using Json = nlohmann::ordered_json;

Json parse(std::string_view line) { return Json::parse(line, nullptr, /*allow_exceptions=*/false); }

}  // namespace

std::string to_json(const RunEvent& event) {
  const Json line = {{"event", event.event},
                     {"step", event.step},
                     {"key", event.key},
                     {"before", event.before},
                     {"after", event.after},
                     {"captions", event.captions},
                     {"images_added", event.images_added},
                     {"images_removed", event.images_removed},
                     {"examples", event.examples}};
  return line.dump(-1, ' ', false, Json::error_handler_t::replace);
}

bool is_event(std::string_view line) {
  // Steps are many and events few: most lines need no parsing here.
  if (line.find("\"event\"") == std::string_view::npos) return false;
  const Json object = parse(line);
  return object.is_object() && object.contains("event");
}

RunEvent run_event_from_json(std::string_view line) {
  const Json object = parse(line);
  if (!object.is_object()) throw DataError("not a JSON object");
  try {
    return {.event = object.at("event").get<std::string>(),
            .step = object.at("step").get<uint64_t>(),
            .key = object.value("key", ""),
            .before = object.value("before", ""),
            .after = object.value("after", ""),
            .captions = object.value("captions", uint64_t{0}),
            .images_added = object.value("images_added", uint64_t{0}),
            .images_removed = object.value("images_removed", uint64_t{0}),
            .examples = object.value("examples", uint64_t{0})};
  } catch (const Json::exception& error) {
    throw DataError(fmt::format("an event is damaged: {}", error.what()));
  }
}

std::string concerned(const RunEvent& event) {
  std::string text;
  const auto add = [&](uint64_t count, const std::string& what) {
    if (count > 0) text += fmt::format("{}{} {}", text.empty() ? "" : ", ", grouped(count), what);
  };
  add(event.captions, fmt::format("captions of {} images", grouped(event.examples)));
  add(event.images_added, "images added");
  add(event.images_removed, "images removed");
  return text;
}

}  // namespace kessoku::metrics
