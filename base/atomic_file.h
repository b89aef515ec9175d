#pragma once

#include <filesystem>
#include <span>

#include "base/output_file.h"

namespace kessoku {

/// A file that is written piece by piece beside its place and appears there whole, or not at all.
/// Throws Error (kCannotWrite) naming the path and the system's reason.
class AtomicFile {
 public:
  explicit AtomicFile(const std::filesystem::path& path);
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  /// Removes what was written, unless committed.
  ~AtomicFile();

  void write(std::span<const std::byte> bytes) { file_.write(bytes); }
  /// Flushes to disk, renames over `path`, flushes the folder. Nothing may be written after it.
  void commit();

 private:
  std::filesystem::path path_, beside_;
  OutputFile file_;
  bool committed_ = false;
};

}  // namespace kessoku
