#include "data/documents/npz.h"

#include <ATen/ops/empty.h>
#include <fmt/format.h>
#include <zlib.h>

#include <charconv>
#include <cstring>

#include "base/error.h"

namespace kessoku::data {

namespace {

constexpr std::string_view kMagic = "\x93NUMPY";
constexpr size_t kMostDimensions = 8;

/// Reads the header's one kind of Python: {'descr': '<f4', 'fortran_order': False, 'shape': (4,
/// 8)}.
class HeaderReader {
 public:
  explicit HeaderReader(std::string_view text) : text_(text) {}

  bool take(std::string_view word) {
    while (text_.starts_with(' ')) text_.remove_prefix(1);
    if (!text_.starts_with(word)) return false;
    text_.remove_prefix(word.size());
    return true;
  }

  std::optional<std::string_view> quoted() {
    if (!take("'")) return std::nullopt;
    const size_t end = text_.find('\'');
    if (end == text_.npos) return std::nullopt;
    const std::string_view word = text_.substr(0, end);
    text_.remove_prefix(end + 1);
    return word;
  }

  std::optional<std::vector<int64_t>> shape() {
    std::vector<int64_t> sizes;
    if (!take("(")) return std::nullopt;
    while (!take(")")) {
      take(" ");
      int64_t size = 0;
      const auto [rest, error] = std::from_chars(text_.data(), text_.data() + text_.size(), size);
      if (error != std::errc() || size < 0 || sizes.size() == kMostDimensions) return std::nullopt;
      text_.remove_prefix(static_cast<size_t>(rest - text_.data()));
      sizes.push_back(size);
      if (!take(",") && !text_.starts_with(')')) return std::nullopt;
    }
    return sizes;
  }

 private:
  std::string_view text_;
};

struct Header {
  std::string_view type;
  bool fortran_order = false;
  std::vector<int64_t> shape;
};

std::optional<Header> parse_header(std::string_view text) {
  HeaderReader reader(text);
  Header header;
  bool has_type = false, has_order = false, has_shape = false;
  if (!reader.take("{")) return std::nullopt;
  while (!reader.take("}")) {
    const auto key = reader.quoted();
    if (!key || !reader.take(":")) return std::nullopt;
    if (*key == "descr") {
      const auto type = reader.quoted();
      if (!type) return std::nullopt;
      header.type = *type;
      has_type = true;
    } else if (*key == "fortran_order") {
      header.fortran_order = reader.take("True");
      if (!header.fortran_order && !reader.take("False")) return std::nullopt;
      has_order = true;
    } else if (*key == "shape") {
      auto shape = reader.shape();
      if (!shape) return std::nullopt;
      header.shape = std::move(*shape);
      has_shape = true;
    } else {
      return std::nullopt;
    }
    reader.take(",");
  }
  return has_type && has_order && has_shape ? std::optional(header) : std::nullopt;
}

template <typename T>
void convert(const char* from, float* to, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    T value;
    std::memcpy(&value, from + i * static_cast<int64_t>(sizeof value), sizeof value);
    to[i] = static_cast<float>(value);
  }
}

}  // namespace

NpzFile::NpzFile(const std::filesystem::path& path)
    : file_(path), members_(read_zip_directory(file_)) {}

void NpzFile::fail(const std::string& name, const std::string& problem) const {
  throw DataError(fmt::format("{}: array '{}' {}", file_.path().string(), name, problem));
}

bool NpzFile::holds(const std::string& name) const { return members_.contains(name + ".npy"); }

NpzFile::Array NpzFile::find(const std::string& name) const {
  const auto member = members_.find(name + ".npy");
  if (member == members_.end()) fail(name, "is not there");
  const auto [begin, end, crc] = member->second;
  const char* data = reinterpret_cast<const char*>(file_.bytes().data());
  const std::string_view bytes(data + begin, end - begin);
  if (bytes.size() < 12 || !bytes.starts_with(kMagic)) fail(name, "is not in NumPy's format");
  const bool long_header = bytes[6] != 1;
  const size_t header_at = long_header ? 12 : 10;
  uint32_t header_bytes = 0;
  std::memcpy(&header_bytes, bytes.data() + 8, long_header ? 4 : 2);
  if (bytes[6] < 1 || bytes[6] > 3 || header_bytes > bytes.size() - header_at)
    fail(name, "has a damaged header");
  const auto header = parse_header(bytes.substr(header_at, header_bytes));
  if (!header) fail(name, "has a damaged header");
  if (header->fortran_order && header->shape.size() > 1) fail(name, "is in Fortran's order");
  const std::string_view type = header->type;
  static constexpr std::string_view kTypes[] = {"<f2", "<f4", "<f8", "<i4", "<i8", "<u4",
                                                "<u8", "|i1", "|u1", "<i2", "<u2"};
  if (std::ranges::find(kTypes, type) == std::end(kTypes))
    fail(name, fmt::format("holds '{}', not plain numbers", type.substr(0, 20)));
  Array array{type[1], type[2] - '0', header->shape, begin + header_at + header_bytes};
  const size_t most = (end - array.begin) / static_cast<size_t>(array.item_bytes);
  size_t count = 1;
  for (const int64_t size : array.shape) {
    if (size != 0 && count > most / static_cast<size_t>(size)) fail(name, "is truncated");
    count *= static_cast<size_t>(size);
  }
  if (count * static_cast<size_t>(array.item_bytes) != end - array.begin)
    fail(name, "has not the size that its header says");
  return array;
}

std::vector<int64_t> NpzFile::shape(const std::string& name) const { return find(name).shape; }

at::Tensor NpzFile::read(const std::string& name) const {
  const Array array = find(name);
  const ZipMember& member = members_.at(name + ".npy");
  const char* data = reinterpret_cast<const char*>(file_.bytes().data());
  if (crc32_z(0, reinterpret_cast<const Bytef*>(data + member.begin), member.end - member.begin) !=
      member.crc32) {
    fail(name, "is damaged: its checksum does not fit");
  }
  const at::Tensor result = at::empty(array.shape, at::kFloat);
  float* out = result.mutable_data_ptr<float>();
  const char* from = data + array.begin;
  const int64_t count = result.numel();
  const auto is = [&](char kind, int64_t bytes) {
    return array.kind == kind && array.item_bytes == bytes;
  };
  if (is('f', 2)) convert<at::Half>(from, out, count);
  if (is('f', 4)) convert<float>(from, out, count);
  if (is('f', 8)) convert<double>(from, out, count);
  if (is('i', 1)) convert<int8_t>(from, out, count);
  if (is('i', 2)) convert<int16_t>(from, out, count);
  if (is('i', 4)) convert<int32_t>(from, out, count);
  if (is('i', 8)) convert<int64_t>(from, out, count);
  if (is('u', 1)) convert<uint8_t>(from, out, count);
  if (is('u', 2)) convert<uint16_t>(from, out, count);
  if (is('u', 4)) convert<uint32_t>(from, out, count);
  if (is('u', 8)) convert<uint64_t>(from, out, count);
  return result;
}

}  // namespace kessoku::data
