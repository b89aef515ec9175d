#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/zip_archive.h"

namespace kessoku::data {

/// Arrays that NumPy wrote with `numpy.savez`. Numbers only: f16, f32, f64 and whole numbers,
/// little endian, in C order; anything else (objects, compression, other orders) is refused.
/// Everything throws DataError naming file and array.
class NpzFile {
 public:
  /// Reads the directory only. UsageError if the file is not there.
  explicit NpzFile(const std::filesystem::path& path);

  bool holds(const std::string& name) const;
  /// Dimensions of an array, whose bytes lie within the file.
  std::vector<int64_t> shape(const std::string& name) const;
  /// The array as f32, checked against its checksum.
  at::Tensor read(const std::string& name) const;

 private:
  struct Array {
    char kind;  ///< 'f', 'i' or 'u'
    int64_t item_bytes;
    std::vector<int64_t> shape;
    size_t begin;  ///< of the numbers, in the file
  };
  Array find(const std::string& name) const;
  [[noreturn]] void fail(const std::string& name, const std::string& problem) const;

  MappedFile file_;
  std::map<std::string_view, ZipMember> members_;
};

}  // namespace kessoku::data
