#include "model/weights/weight_file.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <c10/core/ScalarType.h>
#include <zlib.h>

#include <cstring>

#include "base/error.h"
#include "base/mistaken_file.h"
#include "model/weights/safetensors.h"
#include "model/weights/safetensors_header.h"
#include "model/weights/torch_file.h"

namespace kessoku::model {

namespace {

std::string_view text_of(const MappedFile& file) {
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

bool has_tar_magic(std::string_view text) {
  constexpr size_t kMagicAt = 257;
  return text.size() > kMagicAt && text.substr(kMagicAt).starts_with("ustar");
}

/// For what people download instead of weights.
[[noreturn]] void throw_unknown_format(const MappedFile& file) {
  const std::string_view text = text_of(file);
  std::string what = explain_mistaken(text);
  if (what.empty() && has_tar_magic(text))
    what = "a tar archive of PyTorch before 0.1.10; load it there and save it again";
  if (what.empty()) what = "neither a .safetensors file nor one that torch.save wrote";
  throw DataError(fmt::format("{}: {}", file.path().string(), what));
}

/// A header's length and `{`, with the spaces that some readers allow before it. To be asked first:
/// a length may begin with "PK", as archives do, or with 0x80, as pickles do.
bool looks_like_safetensors(std::string_view text) {
  uint64_t length = 0;
  if (text.size() <= sizeof(length)) return false;
  std::memcpy(&length, text.data(), sizeof(length));
  const size_t first = text.find_first_not_of(' ', sizeof(length));
  return length <= kMaxSafetensorsHeader && first != text.npos && text[first] == '{';
}

}  // namespace

std::optional<size_t> byte_count(at::ScalarType dtype, at::IntArrayRef shape) {
  int64_t bytes = static_cast<int64_t>(c10::elementSize(dtype));
  bool empty = false;
  for (const int64_t side : shape) {
    // Strides are products too, of all sides but those of 0.
    if (side < 0 || __builtin_mul_overflow(bytes, std::max<int64_t>(side, 1), &bytes)) {
      return std::nullopt;
    }
    empty = empty || side == 0;
  }
  return empty ? 0 : static_cast<size_t>(bytes);
}

std::string short_name(at::ScalarType dtype) {
  if (c10::isComplexType(dtype)) return c10::toString(dtype);  // no file format has a name for it
  std::string name = safetensors_dtype(dtype);
  for (char& letter : name) letter = static_cast<char>(std::tolower(letter));
  if (name == "f16" || name == "f32" || name == "f64") name.insert(1, "p");
  return name;
}

WeightFile::WeightFile(MappedFile file, WeightTable table)
    : file_(std::move(file)), table_(std::move(table)), verified_(table_.checksums.size()) {}

std::vector<std::string> WeightFile::names() const {
  std::vector<std::string> names;
  for (const auto& [name, entry] : table_.entries) names.push_back(name);
  return names;
}

const WeightEntry& WeightFile::entry(const std::string& name) const {
  const auto found = table_.entries.find(name);
  if (found == table_.entries.end()) {
    throw DataError(fmt::format("{}: there is no tensor \"{}\"", path().string(), name));
  }
  return found->second;
}

void WeightFile::verify(const std::string& name, const WeightEntry& entry) const {
  const auto after = std::ranges::upper_bound(table_.checksums, entry.begin, {},
                                              [](const ChecksummedBytes& c) { return c.begin; });
  if (after == table_.checksums.begin()) return;
  const auto& [begin, end, crc] = *std::prev(after);
  const auto index = static_cast<size_t>(std::prev(after) - table_.checksums.begin());
  if (entry.end > end || verified_[index]) return;
  const auto* data = reinterpret_cast<const unsigned char*>(file_.bytes().data());
  if (crc32_z(0, data + begin, end - begin) != crc) {
    throw DataError(
        fmt::format("{}: tensor \"{}\": its bytes do not have the checksum that the "
                    "file gives: it is damaged",
                    path().string(), name));
  }
  verified_[index] = true;
}

at::Tensor WeightFile::tensor(const std::string& name) const {
  const WeightEntry& found = entry(name);
  verify(name, found);
  const std::byte* data = file_.bytes().data() + found.begin;
  const size_t element = c10::elementSize(found.dtype);
  if (reinterpret_cast<uintptr_t>(data) % element == 0) {
    // at::from_blob has no const form; nobody writes through it, and the mapping is read-only.
    void* writable = const_cast<std::byte*>(data);
    return found.strides.empty() ? at::from_blob(writable, found.shape, found.dtype)
                                 : at::from_blob(writable, found.shape, found.strides, found.dtype);
  }
  const size_t bytes = found.end - found.begin;
  const at::Tensor copy = at::empty({static_cast<int64_t>(bytes / element)}, found.dtype);
  if (bytes > 0) std::memcpy(copy.data_ptr(), data, bytes);
  return found.strides.empty() ? copy.view(found.shape)
                               : copy.as_strided(found.shape, found.strides);
}

void WeightFile::release(const std::string& name) const {
  const WeightEntry& found = entry(name);
  file_.release(file_.bytes().subspan(found.begin, found.end - found.begin));
}

WeightFile open_weight_file(const std::filesystem::path& path) {
  MappedFile file(path);
  const std::string_view text = text_of(file);
  WeightTable table;
  if (looks_like_safetensors(text)) {
    table = parse_safetensors(file);
  } else if (text.starts_with("PK")) {
    table = parse_torch_zip(file);
  } else if (is_legacy_torch_file(file)) {
    table = parse_legacy_torch_file(file);
  } else if (path.extension() == ".safetensors") {
    table = parse_safetensors(file);
  } else {
    throw_unknown_format(file);
  }
  return WeightFile(std::move(file), std::move(table));
}

}  // namespace kessoku::model
