#pragma once

#include <filesystem>
#include <map>

#include "base/file.h"
#include "model/parameter.h"

namespace kessoku::model {

/// A .safetensors file, mapped read-only and checked whole when opened: header size, dtypes, shapes, offsets without
/// gaps, overlaps or anything beyond the file. Throws DataError naming file and tensor.
class SafetensorsFile {
 public:
  explicit SafetensorsFile(const std::filesystem::path& path);

  std::vector<std::string> names() const;
  bool contains(const std::string& name) const;
  /// A copy-free view of the mapping; valid as long as this object. Throws DataError if there is no such tensor.
  at::Tensor tensor(const std::string& name) const;
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  const std::filesystem::path& path() const { return file_.path(); }

 private:
  struct Entry {
    at::ScalarType dtype;
    std::vector<int64_t> shape;
    size_t begin, end;
  };
  MappedFile file_;
  std::map<std::string, Entry> entries_;
  std::map<std::string, std::string> metadata_;
};

/// Writes beside `path`, fsyncs and renames. Tensors are made contiguous and moved to the CPU one at a time; names
/// must be unique.
void write_safetensors(const std::filesystem::path& path, const Parameters& tensors,
                       const std::map<std::string, std::string>& metadata = {});

}  // namespace kessoku::model
