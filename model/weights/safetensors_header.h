#pragma once

#include <map>
#include <string>
#include <string_view>

#include "model/weights/weight_file.h"

namespace kessoku::model {

/// No reader of the format takes a longer header.
constexpr uint64_t kMaxSafetensorsHeader = 100'000'000;

struct SafetensorsHeader {
  std::map<std::string, WeightEntry> entries;  ///< offsets relative to the end of the header
  std::map<std::string, std::string> metadata;
};

/// Parses a header and checks that its tensors fill `data_bytes` bytes exactly. `where` names the
/// file in errors. Throws DataError.
SafetensorsHeader parse_safetensors_header(std::string_view text, size_t data_bytes,
                                           const std::string& where);

/// "F32" and the like; throws DataError for a dtype that the format (or we) cannot hold.
std::string safetensors_dtype(at::ScalarType dtype);

}  // namespace kessoku::model
