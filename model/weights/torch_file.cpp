#include "model/weights/torch_file.h"

#include <zlib.h>

#include <cstring>

#include "base/error.h"
#include "base/zip_archive.h"
#include "model/weights/torch_tensors.h"

namespace kessoku::model {

namespace {

using Members = std::map<std::string_view, ZipMember>;
using Range = std::pair<size_t, size_t>;

constexpr std::string_view kPickleName = "data.pkl";

[[noreturn]] void fail(const std::string& where, const std::string& problem) {
  throw DataError(fmt::format("{}: {}", where, problem));
}

/// The archive's folder, with the slash: members are "folder/data.pkl", "folder/data/0", …
std::string archive_folder(const Members& members, const std::string& where) {
  std::string folder;
  for (const auto& [name, member] : members) {
    const size_t slash = name.find('/');
    if (slash == std::string_view::npos || name.substr(slash + 1) != kPickleName) continue;
    if (!folder.empty()) fail(where, "the ZIP archive holds more than one data.pkl");
    folder = name.substr(0, slash + 1);
  }
  if (folder.empty()) {
    fail(where, "a ZIP archive without a data.pkl: not a file of torch.save");
  }
  if (members.contains(folder + "constants.pkl")) {
    fail(where, "a TorchScript archive, not weights; save the state_dict() with torch.save");
  }
  return folder;
}

std::span<const std::byte> member_bytes(const MappedFile& file, const ZipMember& member) {
  return file.bytes().subspan(member.begin, member.end - member.begin);
}

void require_little_endian(const MappedFile& file, const Members& members,
                           const std::string& folder) {
  const auto found = members.find(folder + "byteorder");
  if (found == members.end()) return;
  const auto bytes = member_bytes(file, found->second);
  const std::string_view order(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (order != "little") {
    fail(file.path().string(),
         fmt::format("written by a machine of byte order \"{}\"; only \"little\" is read",
                     order.substr(0, 20)));
  }
}

Pickle read_member_pickle(const MappedFile& file, const ZipMember& member) {
  const auto bytes = member_bytes(file, member);
  const auto* data = reinterpret_cast<const unsigned char*>(bytes.data());
  if (member.crc32 != 0 && crc32_z(0, data, bytes.size()) != member.crc32) {
    fail(file.path().string(), "its data.pkl does not have the checksum that the archive gives");
  }
  return read_pickle(bytes, file.path().string());
}

/// Narrows the bytes of a whole storage to the view of it that is meant.
Range view_of(const TorchStorage& storage, size_t begin) {
  const size_t element = storage.element_bytes();
  begin += static_cast<size_t>(storage.view_begin) * element;
  return {begin, begin + static_cast<size_t>(storage.view_count) * element};
}

Range find_in_zip(const TorchStorage& storage, const Members& members, const std::string& folder,
                  const std::string& where) {
  const auto found = members.find(folder + "data/" + storage.key);
  if (found == members.end()) {
    fail(where, fmt::format("the ZIP archive has no data/{}, which a tensor needs", storage.key));
  }
  const size_t bytes = found->second.end - found->second.begin;
  if (storage.bytes() != bytes) {
    fail(where, fmt::format("data/{} has {} bytes, but {} elements of {} are expected", storage.key,
                            bytes, storage.count, storage.element_bytes()));
  }
  return view_of(storage, found->second.begin);
}

std::vector<ChecksummedBytes> checksums_of(const Members& members, const std::string& folder) {
  std::vector<ChecksummedBytes> checksums;
  for (const auto& [name, member] : members) {
    if (!name.starts_with(folder + "data/") || member.crc32 == 0) continue;
    checksums.push_back({member.begin, member.end, member.crc32});
  }
  std::ranges::sort(checksums, {}, &ChecksummedBytes::begin);
  return checksums;
}

// The legacy form.

/// 0x1950a86a20f9469cfc6c, little-endian, is the first pickle; the second one is the version.
constexpr std::string_view kMagic = "\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";
constexpr int64_t kLegacyVersion = 1001;
constexpr std::byte kPickleStart{0x80};

bool says_big_endian(const Pickle& system) {
  const std::vector<PickleId>& items = system[system.root].items;
  for (size_t i = 0; i + 1 < items.size(); i += 2) {
    if (system[items[i]].text == "little_endian" && system[items[i + 1]].integer == 0) return true;
  }
  return false;
}

/// Reads the pickles of a legacy file one after another, then the storages.
class LegacyReader {
 public:
  explicit LegacyReader(const MappedFile& file)
      : bytes_(file.bytes()), where_(file.path().string()) {}

  WeightTable read() {
    const Pickle magic = next_pickle();
    if (magic[magic.root].text != kMagic) fail(where_, "a pickle, but none of torch.save");
    const Pickle version = next_pickle();
    if (version[version.root].integer != kLegacyVersion) {
      fail(where_, "a file of an unknown version of torch.save");
    }
    if (says_big_endian(next_pickle())) {
      fail(where_, "written by a big-endian machine; only little-endian files are read");
    }
    const Pickle object = next_pickle();
    read_storages(object, next_pickle());
    WeightTable table = collect_torch_tensors(
        object, [this](const TorchStorage& storage) { return find(storage); }, where_);
    table.format = "PyTorch legacy";
    return table;
  }

 private:
  Pickle next_pickle() {
    Pickle pickle = read_pickle(bytes_.subspan(at_), where_);
    at_ += pickle.size;
    return pickle;
  }

  /// Each is its number of elements, 8 bytes, and those; how large they are, the object says.
  void read_storages(const Pickle& object, const Pickle& keys) {
    std::map<std::string, size_t> element_bytes;
    for (PickleId id = 0; id < object.nodes.size(); ++id) {
      if (object[id].kind != PickleKind::kPersistent || !is_storage(object, id)) continue;
      const TorchStorage storage = read_torch_storage(object, id, where_);
      element_bytes.emplace(storage.key, storage.element_bytes());
    }
    for (const PickleId id : keys[keys.root].items) {
      const std::string key(keys[id].text);
      const auto element = element_bytes.find(key);
      if (element == element_bytes.end()) {
        fail(where_, fmt::format("holds a storage \"{}\" of unknown type", key.substr(0, 100)));
      }
      read_storage(key, element->second);
    }
  }
  /// Whole modules are persistent objects too.
  static bool is_storage(const Pickle& object, PickleId id) {
    const std::vector<PickleId>& identity = object[object[id].items[0]].items;
    return !identity.empty() && object[identity[0]].text == "storage";
  }
  void read_storage(const std::string& key, size_t element) {
    const size_t left = bytes_.size() - at_;
    uint64_t count = 0;
    if (left >= sizeof count) std::memcpy(&count, bytes_.data() + at_, sizeof count);
    if (left < sizeof count || count > (left - sizeof count) / element) {
      fail(where_, fmt::format("truncated: storage \"{}\" of {} elements of {} bytes begins at {} "
                               "of {}",
                               key.substr(0, 100), count, element, at_, bytes_.size()));
    }
    const size_t begin = at_ + sizeof count;
    at_ = begin + count * element;
    storages_[key] = {begin, at_};
  }

  Range find(const TorchStorage& storage) const {
    const auto found = storages_.find(storage.key);
    if (found == storages_.end()) {
      fail(where_, fmt::format("storage \"{}\", which a tensor needs, is not there", storage.key));
    }
    const auto [begin, end] = found->second;
    if (storage.bytes() != end - begin) {
      fail(where_, fmt::format("storage \"{}\" has {} bytes, but {} elements of {} are expected",
                               storage.key, end - begin, storage.count, storage.element_bytes()));
    }
    return view_of(storage, begin);
  }

  std::span<const std::byte> bytes_;
  std::string where_;
  size_t at_ = 0;
  std::map<std::string, Range> storages_;
};

}  // namespace

WeightTable parse_torch_zip(const MappedFile& file) {
  const std::string where = file.path().string();
  const Members members = read_zip_directory(file);
  const std::string folder = archive_folder(members, where);
  require_little_endian(file, members, folder);
  const Pickle pickle = read_member_pickle(file, members.at(folder + std::string(kPickleName)));
  WeightTable table = collect_torch_tensors(
      pickle,
      [&](const TorchStorage& storage) { return find_in_zip(storage, members, folder, where); },
      where);
  table.format = "PyTorch zip";
  table.checksums = checksums_of(members, folder);
  return table;
}

bool is_legacy_torch_file(const MappedFile& file) {
  return !file.bytes().empty() && file.bytes()[0] == kPickleStart;
}

WeightTable parse_legacy_torch_file(const MappedFile& file) { return LegacyReader(file).read(); }

}  // namespace kessoku::model
