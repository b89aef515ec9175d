#pragma once

#include <filesystem>
#include <map>

#include "model/weights/lazy_tensor.h"
#include "model/weights/weight_file.h"

namespace kessoku::model {

/// Parses a .safetensors file and checks it whole: header size, dtypes, shapes, offsets without
/// gaps, overlaps or anything beyond the file. Throws DataError naming file and tensor.
WeightTable parse_safetensors(const MappedFile& file);

/// A weight file that must be a .safetensors file.
class SafetensorsFile : public WeightFile {
 public:
  explicit SafetensorsFile(const std::filesystem::path& path);
};

/// A .safetensors file that is about to be written. Its bytes are made as they are asked for, so
/// that several writers may each write a part of it. Names must be unique.
class SafetensorsImage {
 public:
  explicit SafetensorsImage(const TensorOutputs& tensors,
                            const std::map<std::string, std::string>& metadata = {});
  uint64_t size() const { return offsets_.back(); }
  /// Hands over bytes [begin, end), one after the other; tensors that have none of them are not
  /// made.
  void write(uint64_t begin, uint64_t end,
             const std::function<void(std::span<const std::byte>)>& write) const;
  /// The tensors that have bytes of [begin, end).
  std::vector<std::string> names_in(uint64_t begin, uint64_t end) const;

 private:
  TensorOutputs ordered_;
  std::string header_;             ///< with its length before it
  std::vector<uint64_t> offsets_;  ///< of each tensor, and of the end
};

/// Writes beside `path`, fsyncs and renames. Tensors are made one at a time; names must be unique.
void write_safetensors(const std::filesystem::path& path, const TensorOutputs& tensors,
                       const std::map<std::string, std::string>& metadata = {});
void write_safetensors(const std::filesystem::path& path, const Parameters& tensors,
                       const std::map<std::string, std::string>& metadata = {});

}  // namespace kessoku::model
