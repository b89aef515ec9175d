#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace kessoku::metrics {

/// Something that changed between two parts of a run: a line of log.jsonl of its own, which has
/// "event" where records of steps have "loss".
struct RunEvent {
  std::string event;          ///< kind: "changed"
  uint64_t step = 0;          ///< steps done before
  std::string key;            ///< what changed: of the run file, or "data.store"
  std::string before, after;  ///< values, or the store's digests
  uint64_t captions = 0;      ///< of the images in both that are others now
  uint64_t images_added = 0, images_removed = 0;
  uint64_t examples = 0;  ///< images now
};

/// The event as one line of JSON, without the line's end.
std::string to_json(const RunEvent& event);

/// Whether a line of log.jsonl is an event.
bool is_event(std::string_view line);

/// The way back. Throws DataError saying what is wrong (not where).
RunEvent run_event_from_json(std::string_view line);

/// "132 captions of 27,173 images, 4 images added"; empty if only the value changed.
std::string concerned(const RunEvent& event);

}  // namespace kessoku::metrics
