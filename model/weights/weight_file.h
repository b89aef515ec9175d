#pragma once

#include <map>
#include <span>

#include "base/file.h"
#include "model/networks/parameter.h"

namespace kessoku::model {

/// A tensor in a weight file: its elements are those of bytes [begin, end) of the file.
struct WeightEntry {
  at::ScalarType dtype = at::kFloat;
  std::vector<int64_t> shape;
  std::vector<int64_t> strides;  ///< in elements; empty: row by row, without gaps
  size_t begin = 0, end = 0;
};

/// Bytes [begin, end) of a file whose CRC-32 the file itself gives.
struct ChecksummedBytes {
  size_t begin = 0, end = 0;
  uint32_t crc32 = 0;
};

/// What the parser of a format found in a file.
struct WeightTable {
  std::string format;  ///< for people: "safetensors", "PyTorch zip", "PyTorch legacy"
  std::map<std::string, WeightEntry> entries;
  std::map<std::string, std::string> metadata;
  std::vector<ChecksummedBytes> checksums;  ///< by ascending position, none overlapping
};

/// Named tensors in a file of any format, mapped read-only: they come into memory as they are
/// looked at. Not for concurrent use.
class WeightFile {
 public:
  /// `table` was parsed out of `file` and does not reach beyond it.
  WeightFile(MappedFile file, WeightTable table);

  const std::map<std::string, WeightEntry>& entries() const { return table_.entries; }
  std::vector<std::string> names() const;
  bool contains(const std::string& name) const { return table_.entries.contains(name); }
  /// Throws DataError if there is no such tensor.
  const WeightEntry& entry(const std::string& name) const;
  /// A view of the mapping without a copy, not to be written to; valid as long as this object. (A
  /// copy where the file puts a tensor off its element size.) Throws DataError if there is no such
  /// tensor or its bytes do not have the file's checksum.
  at::Tensor tensor(const std::string& name) const;
  /// Gives back the memory that reading a tensor took; it may be read again.
  void release(const std::string& name) const;

  const std::map<std::string, std::string>& metadata() const { return table_.metadata; }
  const std::string& format() const { return table_.format; }
  const std::filesystem::path& path() const { return file_.path(); }

 private:
  void verify(const std::string& name, const WeightEntry& entry) const;

  MappedFile file_;
  WeightTable table_;
  mutable std::vector<bool> verified_;  ///< which of the checksums were found right
};

/// Opens a .safetensors file or one of torch.save, told apart by what is in it. Everything but the
/// tensors' bytes is checked. Throws UsageError if it is not there, DataError naming file and
/// tensor.
WeightFile open_weight_file(const std::filesystem::path& path);

/// "fp16", "bf16", "fp32", "i64" …
std::string short_name(at::ScalarType dtype);

/// The bytes of a dtype's elements times `shape`; empty if that is beyond 63 bits.
std::optional<size_t> byte_count(at::ScalarType dtype, at::IntArrayRef shape);

}  // namespace kessoku::model
