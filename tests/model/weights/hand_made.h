#pragma once

#include <fmt/format.h>
#include <zlib.h>

#include <cstdint>
#include <cstring>
#include <fstream>
#include <string>
#include <vector>

/// ZIP archives and pickles put together by hand, for those that PyTorch would never write.
namespace kessoku::testing {

template <typename T>
std::string little_endian(T value) {
  std::string bytes(sizeof value, '\0');
  std::memcpy(bytes.data(), &value, sizeof value);
  return bytes;
}

struct ZipPart {
  std::string name, content;
  uint16_t method = 0, flags = 0;
  std::optional<uint32_t> crc, size;  ///< what the directory says, if not the truth
  std::optional<uint32_t> header;     ///< where it says that the member begins
  std::optional<std::string> local_name;
};

/// An archive of `parts`; without ZIP64 unless a test adds it.
inline std::string make_zip(const std::vector<ZipPart>& parts) {
  std::string body, directory;
  for (const ZipPart& part : parts) {
    const auto bytes = static_cast<uint32_t>(part.content.size());
    const uint32_t crc = part.crc.value_or(static_cast<uint32_t>(
        crc32(0, reinterpret_cast<const unsigned char*>(part.content.data()), bytes)));
    const uint32_t size = part.size.value_or(bytes);
    const std::string sizes = little_endian(crc) + little_endian(size) + little_endian(size);
    const std::string local = part.local_name.value_or(part.name);
    const auto header = part.header.value_or(static_cast<uint32_t>(body.size()));
    body += "PK\3\4" + little_endian<uint16_t>(20) + little_endian(part.flags) +
            little_endian(part.method) + std::string(4, '\0') + sizes +
            little_endian(static_cast<uint16_t>(local.size())) + little_endian<uint16_t>(0) +
            local + part.content;
    directory += "PK\1\2" + little_endian<uint32_t>(20 | 20 << 16) + little_endian(part.flags) +
                 little_endian(part.method) + std::string(4, '\0') + sizes +
                 little_endian(static_cast<uint16_t>(part.name.size())) + std::string(12, '\0') +
                 little_endian(header) + part.name;
  }
  const auto count = static_cast<uint16_t>(parts.size());
  return body + directory + "PK\5\6" + std::string(4, '\0') + little_endian(count) +
         little_endian(count) + little_endian(static_cast<uint32_t>(directory.size())) +
         little_endian(static_cast<uint32_t>(body.size())) + little_endian<uint16_t>(0);
}

inline void write_bytes(const std::filesystem::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

/// Pieces of pickles; each leaves one value on the stack.
namespace pickled {

inline std::string text(const std::string& value) {
  return "X" + little_endian(static_cast<uint32_t>(value.size())) + value;
}
inline std::string integer(int64_t value) { return "\x8a\x08" + little_endian(value); }
inline std::string global(const std::string& module, const std::string& name) {
  return "c" + module + "\n" + name + "\n";
}
inline std::string tuple(const std::vector<std::string>& items) {
  std::string all = "(";
  for (const std::string& item : items) all += item;
  return all + "t";
}
inline std::string integers(const std::vector<int64_t>& values) {
  std::vector<std::string> items;
  for (const int64_t value : values) items.push_back(integer(value));
  return tuple(items);
}
inline std::string call(const std::string& function, const std::vector<std::string>& arguments) {
  return function + tuple(arguments) + "R";
}
inline std::string dict(const std::vector<std::pair<std::string, std::string>>& items) {
  std::string all = "}(";
  for (const auto& [key, value] : items) all += text(key) + value;
  return all + "u";
}
inline std::string storage(const std::string& key, int64_t count,
                           const std::string& type = "FloatStorage") {
  return tuple({text("storage"), global("torch", type), text(key), text("cpu"), integer(count)}) +
         "Q";
}
inline std::string tensor(const std::string& storage, int64_t offset,
                          const std::vector<int64_t>& shape, const std::vector<int64_t>& strides) {
  return call(global("torch._utils", "_rebuild_tensor_v2"),
              {storage, integer(offset), integers(shape), integers(strides), "\x89",
               call(global("collections", "OrderedDict"), {})});
}
inline std::string whole(const std::string& value) { return "\x80\x02" + value + "."; }

}  // namespace pickled

}  // namespace kessoku::testing
