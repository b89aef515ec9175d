#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/random_access_file.h"

namespace kessoku::data {

/// A column of a bucket's group, read piece by piece: from the file where its bytes lie there as
/// they are, else from memory. Keeps a reference to the file. Safe for concurrent use.
class Column {
 public:
  Column() = default;
  Column(const RandomAccessFile& file, uint64_t offset, uint64_t bytes)
      : file_(&file), offset_(offset), bytes_(bytes) {}
  explicit Column(std::vector<std::byte> values)
      : values_(std::make_shared<std::vector<std::byte>>(std::move(values))),
        bytes_(values_->size()) {}

  uint64_t bytes() const { return bytes_; }
  /// Reads the column into memory, where it stays.
  void hold();
  /// Reads [at, at + out.size()), which must be within the column. Throws DataError.
  void read(uint64_t at, std::span<std::byte> out) const;

  /// Element or row `index` of a column of them.
  template <typename T>
  T at(uint64_t index) const {
    T value;
    read(index * sizeof(T), std::as_writable_bytes(std::span(&value, 1)));
    return value;
  }
  template <typename T>
  std::vector<T> all() const {
    std::vector<T> values(bytes_ / sizeof(T));
    read(0, std::as_writable_bytes(std::span(values)));
    return values;
  }

 private:
  const RandomAccessFile* file_ = nullptr;
  std::shared_ptr<const std::vector<std::byte>> values_;
  uint64_t offset_ = 0;
  uint64_t bytes_ = 0;
};

/// Texts end to end, text i at [offsets[i], offsets[i + 1]).
struct TextColumn {
  Column bytes;
  std::vector<uint64_t> offsets;
  std::string at(uint64_t row) const;
};

}  // namespace kessoku::data
