#pragma once

#include <cstdint>
#include <filesystem>
#include <span>

#include "base/checksum.h"

namespace kessoku {

/// Bytes that are written one after the other into a file, from some place in it on. They begin
/// their way to disk at once: a flush at the end finds little left to do. Several may write their
/// own parts of one file, also from several hosts if the parts meet at multiples of a page.
/// Throws Error (kCannotWrite) naming the path and the system's reason.
class OutputFile {
 public:
  /// Makes the file if it is not there; of one that is, other bytes stay.
  explicit OutputFile(const std::filesystem::path& path, uint64_t begin = 0);
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;
  ~OutputFile();

  void write(std::span<const std::byte> bytes);
  /// Flushes to disk and closes. Nothing may be written after it.
  void finish();

  uint64_t bytes_written() const { return end_ - begin_; }
  /// XXH3 of them.
  uint64_t checksum() const { return sum_.value(); }

 private:
  std::filesystem::path path_;
  int descriptor_;
  uint64_t begin_, end_;
  uint64_t sent_;  ///< up to here the system was told to begin
  Checksummer sum_;
};

}  // namespace kessoku
