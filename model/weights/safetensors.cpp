#include "model/weights/safetensors.h"

#include <c10/core/ScalarType.h>

#include <cstring>
#include <nlohmann/json.hpp>
#include <set>

#include "base/atomic_file.h"
#include "base/error.h"
#include "base/mistaken_file.h"
#include "model/weights/safetensors_header.h"

namespace kessoku::model {

namespace {

constexpr size_t kLengthBytes = 8;

uint64_t header_length(const MappedFile& file) {
  const size_t size = file.bytes().size();
  const std::string mistaken =
      explain_mistaken({reinterpret_cast<const char*>(file.bytes().data()), size});
  if (!mistaken.empty()) throw DataError(fmt::format("{}: {}", file.path().string(), mistaken));
  if (size < kLengthBytes) {
    throw DataError(fmt::format("{}: {} bytes are too few for a .safetensors file",
                                file.path().string(), size));
  }
  uint64_t length = 0;
  std::memcpy(&length, file.bytes().data(), kLengthBytes);
  if (length > kMaxSafetensorsHeader || length > size - kLengthBytes) {
    throw DataError(fmt::format(
        "{}: not a .safetensors file, or truncated: a header of {} bytes in a file of {}",
        file.path().string(), length, size));
  }
  return length;
}

/// Largest elements first, then by name: so each tensor lies at a multiple of its element size.
TensorOutputs in_file_order(const TensorOutputs& tensors) {
  TensorOutputs ordered = tensors;
  std::ranges::sort(ordered, [](const TensorOutput& a, const TensorOutput& b) {
    const size_t size_a = c10::elementSize(a.dtype), size_b = c10::elementSize(b.dtype);
    return size_a != size_b ? size_a > size_b : a.name < b.name;
  });
  return ordered;
}

std::string header_text(const TensorOutputs& ordered,
                        const std::map<std::string, std::string>& metadata) {
  nlohmann::ordered_json header;
  if (!metadata.empty()) header["__metadata__"] = metadata;
  std::set<std::string> seen;
  size_t offset = 0;
  for (const TensorOutput& tensor : ordered) {
    if (!seen.insert(tensor.name).second) {
      throw Error(ExitCode::kInternal, fmt::format("two tensors are called \"{}\"", tensor.name));
    }
    const size_t end = offset + tensor.bytes();
    header[tensor.name] = {{"dtype", safetensors_dtype(tensor.dtype)},
                           {"shape", tensor.shape},
                           {"data_offsets", {offset, end}}};
    offset = end;
  }
  std::string text = header.is_null() ? "{}" : header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  const uint64_t length = text.size();
  return std::string(reinterpret_cast<const char*>(&length), kLengthBytes) + text;
}

}  // namespace

WeightTable parse_safetensors(const MappedFile& file) {
  const uint64_t length = header_length(file);
  const auto bytes = file.bytes();
  const size_t data_begin = kLengthBytes + length;
  SafetensorsHeader header =
      parse_safetensors_header({reinterpret_cast<const char*>(bytes.data()) + kLengthBytes, length},
                               bytes.size() - data_begin, file.path().string());
  for (auto& [name, entry] : header.entries) {
    entry.begin += data_begin;
    entry.end += data_begin;
  }
  return {"safetensors", std::move(header.entries), std::move(header.metadata), {}};
}

SafetensorsFile::SafetensorsFile(const std::filesystem::path& path)
    : WeightFile([&path] {
        MappedFile file(path);
        WeightTable table = parse_safetensors(file);
        return WeightFile(std::move(file), std::move(table));
      }()) {}

SafetensorsImage::SafetensorsImage(const TensorOutputs& tensors,
                                   const std::map<std::string, std::string>& metadata)
    : ordered_(in_file_order(tensors)), header_(header_text(ordered_, metadata)) {
  offsets_.push_back(header_.size());
  for (const TensorOutput& tensor : ordered_) offsets_.push_back(offsets_.back() + tensor.bytes());
}

void SafetensorsImage::write(uint64_t begin, uint64_t end,
                             const std::function<void(std::span<const std::byte>)>& write) const {
  // Hands over what [begin, end) has of some bytes whose place is `offset`.
  const auto hand_over = [&](uint64_t offset, std::span<const std::byte> bytes) {
    const uint64_t first = std::max(begin, offset), last = std::min(end, offset + bytes.size());
    if (first < last) write(bytes.subspan(first - offset, last - first));
  };
  hand_over(0, std::as_bytes(std::span(header_)));
  for (size_t i = 0; i < ordered_.size(); ++i) {
    if (offsets_[i + 1] <= begin || offsets_[i] >= end) continue;
    ordered_[i].write([&](std::span<const std::byte> bytes) { hand_over(offsets_[i], bytes); });
  }
}

std::vector<std::string> SafetensorsImage::names_in(uint64_t begin, uint64_t end) const {
  std::vector<std::string> names;
  for (size_t i = 0; i < ordered_.size(); ++i) {
    if (offsets_[i + 1] > begin && offsets_[i] < end) names.push_back(ordered_[i].name);
  }
  return names;
}

void write_safetensors(const std::filesystem::path& path, const TensorOutputs& tensors,
                       const std::map<std::string, std::string>& metadata) {
  const SafetensorsImage image(tensors, metadata);
  AtomicFile file(path);
  image.write(0, image.size(), [&](std::span<const std::byte> bytes) { file.write(bytes); });
  file.commit();
}

void write_safetensors(const std::filesystem::path& path, const Parameters& tensors,
                       const std::map<std::string, std::string>& metadata) {
  write_safetensors(path, outputs_of(tensors), metadata);
}

}  // namespace kessoku::model
