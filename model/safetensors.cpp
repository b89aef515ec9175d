#include "model/safetensors.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <c10/core/ScalarType.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "base/error.h"
#include "model/safetensors_header.h"

namespace kessoku::model {

namespace {

constexpr size_t kLengthBytes = 8;

uint64_t header_length(const MappedFile& file) {
  const size_t size = file.bytes().size();
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
Parameters in_file_order(const Parameters& tensors) {
  Parameters ordered = tensors;
  std::ranges::sort(ordered, [](const Parameter& a, const Parameter& b) {
    const size_t size_a = a.tensor.element_size(), size_b = b.tensor.element_size();
    return size_a != size_b ? size_a > size_b : a.name < b.name;
  });
  return ordered;
}

std::string header_text(const Parameters& ordered,
                        const std::map<std::string, std::string>& metadata) {
  nlohmann::ordered_json header;
  if (!metadata.empty()) header["__metadata__"] = metadata;
  std::set<std::string> seen;
  size_t offset = 0;
  for (const auto& [name, tensor] : ordered) {
    if (!seen.insert(name).second) {
      throw Error(ExitCode::kInternal, fmt::format("two tensors are called \"{}\"", name));
    }
    const size_t end = offset + tensor.nbytes();
    header[name] = {{"dtype", safetensors_dtype(tensor.scalar_type())},
                    {"shape", std::vector<int64_t>(tensor.sizes().begin(), tensor.sizes().end())},
                    {"data_offsets", {offset, end}}};
    offset = end;
  }
  std::string text = header.is_null() ? "{}" : header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  return text;
}

void write_whole(const std::filesystem::path& path, const std::string& header,
                 const Parameters& ordered) {
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  const uint64_t length = header.size();
  out.write(reinterpret_cast<const char*>(&length), kLengthBytes);
  out.write(header.data(), static_cast<std::streamsize>(header.size()));
  for (const Parameter& parameter : ordered) {
    const at::Tensor tensor = parameter.tensor.detach().cpu().contiguous();
    out.write(static_cast<const char*>(tensor.const_data_ptr()),
              static_cast<std::streamsize>(tensor.nbytes()));
  }
  out.close();
  if (!out) {
    throw Error(ExitCode::kInternal,
                fmt::format("{}: cannot write: {}", path.string(), std::strerror(errno)));
  }
}

}  // namespace

SafetensorsFile::SafetensorsFile(const std::filesystem::path& path) : file_(path) {
  const uint64_t length = header_length(file_);
  const auto bytes = file_.bytes();
  data_begin_ = kLengthBytes + length;
  SafetensorsHeader header =
      parse_safetensors_header({reinterpret_cast<const char*>(bytes.data()) + kLengthBytes, length},
                               bytes.size() - data_begin_, path.string());
  entries_ = std::move(header.entries);
  metadata_ = std::move(header.metadata);
}

std::vector<std::string> SafetensorsFile::names() const {
  std::vector<std::string> names;
  for (const auto& [name, entry] : entries_) names.push_back(name);
  return names;
}

bool SafetensorsFile::contains(const std::string& name) const { return entries_.contains(name); }

const SafetensorsEntry& SafetensorsFile::entry(const std::string& name) const {
  const auto found = entries_.find(name);
  if (found == entries_.end()) {
    throw DataError(fmt::format("{}: there is no tensor \"{}\"", path().string(), name));
  }
  return found->second;
}

at::Tensor SafetensorsFile::tensor(const std::string& name) const {
  const SafetensorsEntry& found = entry(name);
  const std::byte* data = file_.bytes().data() + data_begin_ + found.begin;
  if (reinterpret_cast<uintptr_t>(data) % c10::elementSize(found.dtype) == 0) {
    // at::from_blob has no const form; nobody writes through it, and the mapping is read-only.
    return at::from_blob(const_cast<std::byte*>(data), found.shape, found.dtype);
  }
  at::Tensor copy = at::empty(found.shape, found.dtype);
  std::memcpy(copy.data_ptr(), data, found.end - found.begin);
  return copy;
}

void SafetensorsFile::release(const std::string& name) const {
  const SafetensorsEntry& found = entry(name);
  file_.release(file_.bytes().subspan(data_begin_ + found.begin, found.end - found.begin));
}

void write_safetensors(const std::filesystem::path& path, const Parameters& tensors,
                       const std::map<std::string, std::string>& metadata) {
  const Parameters ordered = in_file_order(tensors);
  const std::filesystem::path beside = path.string() + fmt::format(".tmp{}", ::getpid());
  write_whole(beside, header_text(ordered, metadata), ordered);
  fsync_path(beside);
  std::filesystem::rename(beside, path);
  fsync_path(path.has_parent_path() ? path.parent_path() : std::filesystem::path("."));
}

}  // namespace kessoku::model
