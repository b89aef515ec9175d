#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>

namespace kessoku {

/// A file that is read and written at given places, past any library. Safe for concurrent use.
class RandomAccessFile {
 public:
  enum class Mode { kRead, kWrite };
  /// Opens a file that is there. Throws DataError if it is gone or no regular file, SystemError
  /// naming it and the system's reason.
  RandomAccessFile(const std::filesystem::path& path, Mode mode);
  RandomAccessFile(const RandomAccessFile&) = delete;
  RandomAccessFile& operator=(const RandomAccessFile&) = delete;
  ~RandomAccessFile();

  const std::filesystem::path& path() const { return path_; }
  /// Bytes, as they were when it was opened.
  uint64_t size() const { return size_; }
  /// Throws DataError if the file is shorter than that, SystemError if the machine fails.
  void read(uint64_t at, std::span<std::byte> out) const;
  /// Throws Error (kCannotWrite).
  void write(uint64_t at, std::span<const std::byte> bytes) const;
  /// Takes disk space for the first `bytes` bytes now, where the file system can. Throws Error
  /// (kCannotWrite) if there is not so much.
  void reserve(uint64_t bytes) const;
  /// Begins to bring what was written to the disk, and does not wait for it.
  void begin_flush() const;
  /// Waits until all that was written is on the disk. Throws Error (kCannotWrite).
  void flush() const;

 private:
  std::filesystem::path path_;
  int descriptor_ = -1;
  uint64_t size_ = 0;
};

}  // namespace kessoku
