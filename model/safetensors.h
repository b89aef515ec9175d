#pragma once

#include <filesystem>
#include <map>

#include "base/file.h"
#include "model/parameter.h"

namespace kessoku::model {

/// Where a tensor lies in a .safetensors file, as its header says; offsets are relative to the end
/// of the header.
struct SafetensorsEntry {
  at::ScalarType dtype = at::kFloat;
  std::vector<int64_t> shape;
  size_t begin = 0, end = 0;
};

/// A .safetensors file, mapped read-only and checked whole when opened: header size, dtypes,
/// shapes, offsets without gaps, overlaps or anything beyond the file. Throws DataError naming file
/// and tensor.
class SafetensorsFile {
 public:
  explicit SafetensorsFile(const std::filesystem::path& path);

  std::vector<std::string> names() const;
  bool contains(const std::string& name) const;
  /// A copy-free view of the mapping, not to be written to; valid as long as this object. (A copy
  /// where the file puts a tensor off its element size.) Throws DataError if there is no such
  /// tensor.
  at::Tensor tensor(const std::string& name) const;
  /// Gives back the memory that reading a tensor took; it may be read again.
  void release(const std::string& name) const;
  /// Shape and dtype without touching the data. Throws DataError if there is no such tensor.
  const SafetensorsEntry& entry(const std::string& name) const;
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  const std::filesystem::path& path() const { return file_.path(); }

 private:
  MappedFile file_;
  size_t data_begin_ = 0;
  std::map<std::string, SafetensorsEntry> entries_;
  std::map<std::string, std::string> metadata_;
};

/// Writes beside `path`, fsyncs and renames. Tensors are made contiguous and moved to the CPU one
/// at a time; names must be unique.
void write_safetensors(const std::filesystem::path& path, const Parameters& tensors,
                       const std::map<std::string, std::string>& metadata = {});

}  // namespace kessoku::model
