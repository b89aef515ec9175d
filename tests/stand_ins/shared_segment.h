#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>

namespace kessoku::stand_ins {

/// Thrown to those who wait for ranks when the group was aborted.
struct Aborted : std::runtime_error {
  Aborted() : std::runtime_error("aborted") {}
};

/// Memory that the processes of one host share: a slot for each rank, a barrier, and what two ranks
/// tell each other about messages.
class SharedSegment {
 public:
  static constexpr size_t kSlot = size_t{1} << 20;  // bytes

  /// `name`: alike for all ranks, and new.
  SharedSegment(const std::string& name, int rank, int ranks);
  SharedSegment(const SharedSegment&) = delete;
  SharedSegment& operator=(const SharedSegment&) = delete;
  ~SharedSegment();

  int rank() const { return rank_; }
  int ranks() const { return ranks_; }
  /// Before anything else, once all ranks are there; the first call counts.
  void begin();
  char* slot(int rank) { return memory_ + sizeof(Header) + static_cast<size_t>(rank) * kSlot; }
  /// Of messages from one rank to another. They lie in the sender's slot.
  struct Lane {
    std::atomic<uint64_t> sent, taken;  ///< pieces
    uint64_t bytes;                     ///< of the message under way
  };
  Lane& lane(int from, int to) {
    char* lanes = slot(ranks_);
    return reinterpret_cast<Lane*>(lanes)[from * ranks_ + to];
  }
  /// Returns when all ranks have called it. Throws Aborted.
  void barrier();
  void abort() { header()->aborted = true; }
  bool aborted() { return header()->aborted; }

 private:
  struct alignas(64) Header {
    std::atomic<uint32_t> arrived, round;
    std::atomic<bool> aborted;
  };
  Header* header() { return reinterpret_cast<Header*>(memory_); }

  std::string name_;
  int rank_, ranks_;
  size_t bytes_;
  char* memory_;
  bool begun_ = false;
};

}  // namespace kessoku::stand_ins
