#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace kessoku::metrics {

/// CRC-32C (Castagnoli; RFC 3720, B.4).
uint32_t crc32c(std::string_view bytes);

/// Tags with their values.
using Scalars = std::vector<std::pair<std::string, float>>;

// Records of TensorBoard's event files: protobuf messages tensorflow.Event (tensorboard/compat/
// proto/event.proto) in the frames of TFRecord, each ready to be appended. `time` is seconds since
// 1970.

/// The first record of a file.
std::string version_record(double time);

/// A process begins whose first step is `step`: what other files hold of it and of later ones does
/// not count any more.
std::string start_record(double time, uint64_t step);

std::string scalars_record(double time, uint64_t step, const Scalars& scalars);

}  // namespace kessoku::metrics
