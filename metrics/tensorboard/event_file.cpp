#include "metrics/tensorboard/event_file.h"

#include <array>
#include <bit>

namespace kessoku::metrics {

namespace {

constexpr std::array<uint32_t, 256> crc_table() {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t value = i;
    for (int bit = 0; bit < 8; ++bit) value = value >> 1 ^ (value & 1 ? 0x82f63b78 : 0);
    table[i] = value;
  }
  return table;
}

template <typename Integer>
std::string little_endian(Integer value) {
  std::string bytes;
  for (size_t i = 0; i < sizeof value; ++i) bytes += static_cast<char>(value >> (8 * i));
  return bytes;
}

/// A CRC of what holds CRCs would be weak; TFRecord masks them.
std::string masked_crc(std::string_view bytes) {
  return little_endian(std::rotr(crc32c(bytes), 15) + 0xa282ead8u);
}

std::string frame(const std::string& event) {
  const std::string length = little_endian<uint64_t>(event.size());
  return length + masked_crc(length) + event + masked_crc(event);
}

std::string varint(uint64_t value) {
  std::string bytes;
  for (; value >= 0x80; value >>= 7) bytes += static_cast<char>(value | 0x80);
  return bytes + static_cast<char>(value);
}

// Fields of protobuf: the tag is the field's number above its wire type.
std::string double_field(uint32_t number, double value) {
  return varint(number << 3 | 1) + little_endian(std::bit_cast<uint64_t>(value));
}
std::string float_field(uint32_t number, float value) {
  return varint(number << 3 | 5) + little_endian(std::bit_cast<uint32_t>(value));
}
std::string integer_field(uint32_t number, uint64_t value) {
  return varint(number << 3) + varint(value);
}
std::string bytes_field(uint32_t number, std::string_view bytes) {
  return varint(number << 3 | 2) + varint(bytes.size()) + std::string(bytes);
}

// Numbers of fields, by message.
namespace event {
constexpr uint32_t kWallTime = 1, kStep = 2, kFileVersion = 3, kSummary = 5, kSessionLog = 7;
}
namespace session_log {
constexpr uint32_t kStatus = 1, kStart = 1;
}
namespace summary {
constexpr uint32_t kValue = 1, kTag = 1, kSimpleValue = 2;
}

}  // namespace

uint32_t crc32c(std::string_view bytes) {
  static constexpr std::array<uint32_t, 256> kTable = crc_table();
  uint32_t crc = ~0u;
  for (const char c : bytes) crc = crc >> 8 ^ kTable[(crc ^ static_cast<unsigned char>(c)) & 0xff];
  return ~crc;
}

std::string version_record(double time) {
  return frame(double_field(event::kWallTime, time) +
               bytes_field(event::kFileVersion, "brain.Event:2"));
}

std::string start_record(double time, uint64_t step) {
  return frame(
      double_field(event::kWallTime, time) + integer_field(event::kStep, step) +
      bytes_field(event::kSessionLog, integer_field(session_log::kStatus, session_log::kStart)));
}

std::string scalars_record(double time, uint64_t step, const Scalars& scalars) {
  std::string values;
  for (const auto& [tag, value] : scalars) {
    values += bytes_field(summary::kValue, bytes_field(summary::kTag, tag) +
                                               float_field(summary::kSimpleValue, value));
  }
  return frame(double_field(event::kWallTime, time) + integer_field(event::kStep, step) +
               bytes_field(event::kSummary, values));
}

}  // namespace kessoku::metrics
