#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

namespace kessoku {

/// The whole file as bytes. Throws UsageError if it is not there, DataError if it is larger than
/// `max_bytes` or no regular file, SystemError if the machine cannot read it.
std::string read_file(const std::filesystem::path& path, uint64_t max_bytes = 64u << 20);

/// Writes beside `path`, fsyncs, renames over it and fsyncs the folder: a reader sees the old file
/// or the whole new one. Throws Error (kCannotWrite) naming the path and the system's reason.
void write_file_atomically(const std::filesystem::path& path, std::string_view content);

/// Writes a file that is not there yet, whole or not at all. Returns false, and leaves it alone, if
/// there is one. Errors as write_file_atomically.
bool write_new_file(const std::filesystem::path& path, std::string_view content);

/// fsync of a file or folder, so that it survives a power cut; nothing on file systems without it.
void fsync_path(const std::filesystem::path& path);

/// A file mapped read-only into memory for as long as this lives. Move-only.
class MappedFile {
 public:
  /// Throws UsageError if the file is not there, SystemError if it cannot be mapped.
  explicit MappedFile(const std::filesystem::path& path);
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&&) = delete;
  ~MappedFile();

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  /// Lets the system take back the memory of these bytes, which a reader has done with; touched
  /// again, they are read again. `part` lies within bytes().
  void release(std::span<const std::byte> part) const;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace kessoku
