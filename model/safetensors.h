#pragma once

#include <filesystem>
#include <map>

#include "model/tensor_output.h"
#include "model/weight_file.h"

namespace kessoku::model {

/// Parses a .safetensors file and checks it whole: header size, dtypes, shapes, offsets without
/// gaps, overlaps or anything beyond the file. Throws DataError naming file and tensor.
WeightTable parse_safetensors(const MappedFile& file);

/// A weight file that must be a .safetensors file.
class SafetensorsFile : public WeightFile {
 public:
  explicit SafetensorsFile(const std::filesystem::path& path);
};

/// Writes beside `path`, fsyncs and renames. Tensors are made one at a time; names must be unique.
void write_safetensors(const std::filesystem::path& path, const TensorOutputs& tensors,
                       const std::map<std::string, std::string>& metadata = {});
void write_safetensors(const std::filesystem::path& path, const Parameters& tensors,
                       const std::map<std::string, std::string>& metadata = {});

}  // namespace kessoku::model
