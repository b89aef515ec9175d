#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <mutex>

#include "tests/stand_ins/stream.h"

namespace kessoku::stand_ins {

/// Up to which of its pieces of work each stream is known to have come.
using Clock = std::array<uint64_t, kStreams + 1>;

/// What streams use, and what orders them: events, and the host's waiting. Memory that one stream
/// uses while another may be busy with it is an error, whichever of them happens to be first.
class StreamOrder {
 public:
  /// Before the first work of a stream other than the default one.
  void begin(int stream);
  /// The stream will read or write these bytes. Throws c10::Error.
  void use(int stream, const void* data, size_t bytes, bool writes);
  /// What is done when all is done that the stream was asked for.
  Clock clock_of(int stream);
  void wait(int stream, const Clock& clock);
  void host_waited(const Clock& clock);
  /// Whether the host knows that it is done.
  bool is_done(int stream, uint64_t number);
  bool is_known(const Clock& clock);

 private:
  struct Use {
    uint64_t number;
    const char *begin, *end;
    bool writes;
  };
  bool is_alone(int stream) const;
  void forget(int stream);

  std::mutex mutex_;
  std::array<bool, kStreams + 1> begun_{true};
  std::array<Clock, kStreams + 1> clocks_{};
  Clock host_{};
  std::array<std::deque<Use>, kStreams + 1> uses_;
};

StreamOrder& stream_order();

}  // namespace kessoku::stand_ins
