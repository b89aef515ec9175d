#include "base/zip_archive.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "base/error.h"

namespace kessoku {

namespace {

// Offsets as in PKWARE's APPNOTE.TXT, 4.3.
constexpr std::string_view kLocalHeader = "PK\3\4", kCentralHeader = "PK\1\2", kEnd = "PK\5\6",
                           kEnd64 = "PK\6\6", kEnd64Locator = "PK\6\7";
constexpr size_t kLocalHeaderBytes = 30, kCentralHeaderBytes = 46, kEndBytes = 22, kEnd64Bytes = 56,
                 kEnd64LocatorBytes = 20;
constexpr size_t kMaxComment = 0xffff;
constexpr uint16_t kZip64Extra = 1, kEncrypted = 1;
constexpr uint32_t kInZip64 = 0xffffffff;

class DirectoryReader {
 public:
  explicit DirectoryReader(const MappedFile& file)
      : text_(reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()),
        where_(file.path().string()) {}

  std::map<std::string_view, ZipMember> read() {
    auto [at, end] = find_directory();
    std::map<std::string_view, ZipMember> members;
    while (at < end) {
      const auto [name, member] = read_member(at);
      if (!members.emplace(name, member).second) {
        fail(fmt::format("holds \"{}\" twice", shorten(name)));
      }
    }
    if (at != end) fail("is damaged");
    check_overlaps(members);
    return members;
  }

 private:
  [[noreturn]] void fail(const std::string& problem) const {
    throw DataError(fmt::format("{}: the ZIP archive {}", where_, problem));
  }
  static std::string_view shorten(std::string_view name) { return name.substr(0, 200); }

  std::string_view piece(uint64_t at, uint64_t count) const {
    if (at > text_.size() || count > text_.size() - at) fail("is truncated or damaged");
    return text_.substr(at, count);
  }
  /// Little-endian.
  template <typename T>
  T number(uint64_t at) const {
    T value{};
    std::memcpy(&value, piece(at, sizeof value).data(), sizeof value);
    return value;
  }

  /// Where the central directory begins and ends.
  std::pair<uint64_t, uint64_t> find_directory() const {
    const size_t tail = std::min(text_.size(), kEndBytes + kMaxComment);
    const size_t in_tail = text_.substr(text_.size() - tail).rfind(kEnd);
    if (in_tail == std::string_view::npos) fail("has no directory at its end: it is truncated");
    const size_t end = text_.size() - tail + in_tail;
    piece(end, kEndBytes);
    uint64_t size = number<uint32_t>(end + 12), offset = number<uint32_t>(end + 16);
    const bool has64 =
        end >= kEnd64LocatorBytes && piece(end - kEnd64LocatorBytes, 4) == kEnd64Locator;
    if (has64) {
      const uint64_t end64 = number<uint64_t>(end - kEnd64LocatorBytes + 8);
      if (!piece(end64, kEnd64Bytes).starts_with(kEnd64)) fail("is damaged at its end");
      size = number<uint64_t>(end64 + 40);
      offset = number<uint64_t>(end64 + 48);
    }
    piece(offset, size);
    return {offset, offset + size};
  }

  /// Reads the directory's record at `at` and moves `at` behind it.
  std::pair<std::string_view, ZipMember> read_member(uint64_t& at) const {
    if (!piece(at, kCentralHeaderBytes).starts_with(kCentralHeader)) fail("is damaged");
    const uint16_t flags = number<uint16_t>(at + 8), method = number<uint16_t>(at + 10);
    const uint32_t crc = number<uint32_t>(at + 16);
    const uint16_t name_length = number<uint16_t>(at + 28), extra = number<uint16_t>(at + 30),
                   comment = number<uint16_t>(at + 32);
    const std::string_view name = piece(at + kCentralHeaderBytes, name_length);
    const Place place = find_place(at, at + kCentralHeaderBytes + name_length, extra);
    if ((flags & kEncrypted) != 0) fail(fmt::format("holds \"{}\" encrypted", shorten(name)));
    if (method != 0 || place.packed != place.size) {
      fail(fmt::format("holds \"{}\" compressed; save it again without (torch.save, numpy.savez)",
                       shorten(name)));
    }
    at += kCentralHeaderBytes + uint64_t{name_length} + extra + comment;
    return {name, locate(name, place, crc)};
  }

  struct Place {
    uint64_t size, packed, header;
  };
  /// Sizes and position of a member: 32 bits each, or in the ZIP64 field if they do not fit.
  Place find_place(uint64_t record, uint64_t extra_at, uint64_t extra_size) const {
    Place place{number<uint32_t>(record + 24), number<uint32_t>(record + 20),
                number<uint32_t>(record + 42)};
    const uint64_t end = extra_at + extra_size;
    piece(extra_at, extra_size);
    while (extra_at + 4 <= end) {
      const uint16_t id = number<uint16_t>(extra_at), size = number<uint16_t>(extra_at + 2);
      uint64_t field = extra_at + 4;
      extra_at = field + size;
      if (id != kZip64Extra) continue;
      for (uint64_t* value : {&place.size, &place.packed, &place.header}) {
        if (*value != kInZip64) continue;
        if (field + 8 > std::min(extra_at, end)) fail("has a damaged ZIP64 field");
        *value = number<uint64_t>(field);
        field += 8;
      }
    }
    return place;
  }

  /// The member's bytes lie behind its own header, whose lengths differ from the directory's.
  ZipMember locate(std::string_view name, const Place& place, uint32_t crc) const {
    if (!piece(place.header, kLocalHeaderBytes).starts_with(kLocalHeader)) {
      fail(fmt::format("has no \"{}\" where its directory says", shorten(name)));
    }
    const uint16_t name_length = number<uint16_t>(place.header + 26),
                   extra = number<uint16_t>(place.header + 28);
    if (piece(place.header + kLocalHeaderBytes, name_length) != name) {
      fail(fmt::format("has another member where its directory says \"{}\"", shorten(name)));
    }
    const uint64_t begin = place.header + kLocalHeaderBytes + name_length + extra;
    if (begin > text_.size() || place.size > text_.size() - begin) {
      fail(fmt::format("is truncated: \"{}\" of {} bytes begins at {} of {}", shorten(name),
                       place.size, begin, text_.size()));
    }
    return {begin, begin + place.size, crc};
  }

  void check_overlaps(const std::map<std::string_view, ZipMember>& members) const {
    std::vector<std::pair<ZipMember, std::string_view>> ordered;
    for (const auto& [name, member] : members) ordered.emplace_back(member, name);
    std::ranges::sort(ordered, {}, [](const auto& entry) {
      return std::pair(entry.first.begin, entry.first.end);
    });
    for (size_t i = 1; i < ordered.size(); ++i) {
      if (ordered[i].first.begin >= ordered[i - 1].first.end) continue;
      fail(fmt::format("has \"{}\" and \"{}\" in the same place", shorten(ordered[i - 1].second),
                       shorten(ordered[i].second)));
    }
  }

  std::string_view text_;
  std::string where_;
};

}  // namespace

std::map<std::string_view, ZipMember> read_zip_directory(const MappedFile& file) {
  return DirectoryReader(file).read();
}

}  // namespace kessoku
