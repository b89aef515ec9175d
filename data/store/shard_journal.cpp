#include "data/store/shard_journal.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <mutex>
#include <set>

#include "base/checksum.h"
#include "base/descriptor.h"
#include "base/error.h"
#include "base/file.h"
#include "base/folder.h"
#include "base/json.h"
#include "base/system_error.h"
#include "data/store/store_layout.h"

namespace kessoku::data {

namespace fs = std::filesystem;
using nlohmann::json;

namespace {

constexpr int kFormat = 1;
constexpr uint64_t kMostBytes = uint64_t{16} << 30;

fs::path journal_path(const fs::path& shard) { return shard.string() + ".journal"; }

json header_of(const ShardWriter& writer, const std::string& settings, const std::string& plan) {
  const ShardLayout& layout = writer.layout();
  json header{{"kessoku_journal", kFormat},  {"settings", settings},  {"plan", plan},
              {"variants", layout.variants}, {"kept", json::array()}, {"groups", json::array()}};
  for (const Kind kind : layout.kept) header["kept"].push_back(to_string(kind));
  for (size_t g = 0; g < layout.groups.size(); ++g) {
    const ShardLayout::Group& group = layout.groups[g];
    json places = json::object();
    for (const Kind kind : layout.kept) {
      places[to_string(kind)] = {{"offset", writer.offset(g, kind)},
                                 {"shape", group.shapes.at(kind)}};
    }
    header["groups"].push_back(
        {{"bucket", to_string(group.bucket)}, {"rows", group.rows}, {"places", places}});
  }
  return header;
}

void parse_header(const json& header, InterruptedWork& work) {
  if (header.at("kessoku_journal").get<int>() != kFormat) throw DataError("another format");
  work.settings = header.at("settings").get<std::string>();
  work.plan = header.at("plan").get<std::string>();
  work.layout.variants = header.at("variants").get<int64_t>();
  if (work.layout.variants < 1 || work.layout.variants > 1024) throw DataError("variants");
  for (const json& kind : header.at("kept"))
    work.layout.kept.push_back(parse_kind(kind.get<std::string>()));
  for (const json& entry : header.at("groups")) {
    ShardLayout::Group group{parse_bucket(entry.at("bucket").get<std::string>(), "journal"),
                             entry.at("rows").get<uint64_t>(),
                             {}};
    std::map<Kind, uint64_t> offsets;
    for (const Kind kind : work.layout.kept) {
      const json& place = entry.at("places").at(to_string(kind));
      offsets[kind] = place.at("offset").get<uint64_t>();
      group.shapes[kind] = place.at("shape").get<std::vector<int64_t>>();
      for (const int64_t side : group.shapes[kind])
        if (side < 1 || side > 1 << 16 || group.shapes[kind].size() != 3) throw DataError("shape");
    }
    work.layout.groups.push_back(std::move(group));
    work.offsets.push_back(std::move(offsets));
  }
}

/// An entry as bytes: all are of one size, by the number of variants and kinds.
class Frame {
 public:
  explicit Frame(const ShardLayout& layout)
      : variants_(static_cast<size_t>(layout.variants)),
        checksums_(variants_ * layout.kept.size()) {}

  size_t bytes() const { return sizeof(Fixed) + variants_ * sizeof(Packed) + checksums_ * 8 + 8; }

  std::string pack(const WorkEntry& entry) const {
    Fixed fixed{};
    fixed.group = entry.group;
    fixed.row = entry.row;
    fixed.provenance = entry.provenance;
    std::string frame;
    const auto add = [&](const auto* values, size_t count) {
      frame.append(reinterpret_cast<const char*>(values), count * sizeof(*values));
    };
    add(&fixed, 1);
    for (const Variant& variant : entry.variants) {
      Packed packed{variant.crop, variant.flipped ? 1 : 0};
      add(&packed, 1);
    }
    add(entry.checksums.data(), entry.checksums.size());
    const uint64_t sum = checksum(std::as_bytes(std::span(frame)));
    add(&sum, 1);
    if (frame.size() != bytes()) throw std::logic_error("ShardJournal: an entry of another layout");
    return frame;
  }

  /// Nothing if the frame is not sound.
  std::optional<WorkEntry> unpack(std::string_view frame) const {
    const size_t body = frame.size() - 8;
    uint64_t sum = 0;
    std::memcpy(&sum, frame.data() + body, 8);
    if (sum != checksum(std::as_bytes(std::span(frame.substr(0, body))))) return std::nullopt;
    const char* at = frame.data();
    const auto take = [&](auto* values, size_t count) {
      std::memcpy(values, at, count * sizeof(*values));
      at += count * sizeof(*values);
    };
    Fixed fixed;
    take(&fixed, 1);
    WorkEntry entry{fixed.group, fixed.row, fixed.provenance, {}, {}};
    for (size_t v = 0; v < variants_; ++v) {
      Packed packed;
      take(&packed, 1);
      entry.variants.push_back({packed.crop, packed.flipped != 0});
    }
    entry.checksums.resize(checksums_);
    take(entry.checksums.data(), checksums_);
    return entry;
  }

 private:
  struct Fixed {
    uint32_t group;
    uint32_t unused;
    uint64_t row;
    Provenance provenance;
  };
  struct Packed {
    std::array<int32_t, 4> crop;
    int32_t flipped;
  };

  size_t variants_, checksums_;
};

/// An open journal that only this process may write; -1 if another does.
int open_locked(const fs::path& path, int flags) {
  const int descriptor = ::open(path.c_str(), O_RDWR | O_CLOEXEC | flags, 0644);
  if (descriptor < 0) throw_system("create", path);
  if (::flock(descriptor, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK) return descriptor;
  ::close(descriptor);
  return -1;
}

}  // namespace

struct ShardJournal::Impl {
  fs::path path;
  int descriptor = -1;
  Frame frame;
  std::mutex mutex;

  void write(std::string_view bytes) const {
    if (write_all(descriptor, bytes) < bytes.size()) throw_system("write", path);
  }
};

ShardJournal::ShardJournal(const ShardWriter& writer, const std::string& settings,
                           const std::string& plan)
    : impl_(new Impl{journal_path(writer.path()), -1, Frame(writer.layout()), {}}) {
  impl_->descriptor = open_locked(impl_->path, O_CREAT | O_EXCL);
  if (impl_->descriptor < 0)
    throw UsageError(impl_->path.string() + ": another kessoku prepare is writing it");
  impl_->write(header_of(writer, settings, plan).dump() + "\n");
}

std::unique_ptr<ShardJournal> ShardJournal::resume(const InterruptedWork& work) {
  std::unique_ptr<ShardJournal> journal(new ShardJournal);
  journal->impl_.reset(new Impl{journal_path(work.shard), -1, Frame(work.layout), {}});
  Impl& impl = *journal->impl_;
  impl.descriptor = open_locked(impl.path, 0);
  if (impl.descriptor < 0) return nullptr;
  if (::ftruncate(impl.descriptor, static_cast<off_t>(work.bytes)) != 0 ||
      ::lseek(impl.descriptor, 0, SEEK_END) < 0) {
    throw_system("write", impl.path);
  }
  return journal;
}

ShardJournal::~ShardJournal() {
  if (impl_ && impl_->descriptor >= 0) ::close(impl_->descriptor);
}

void ShardJournal::append(const WorkEntry& entry) {
  const std::string frame = impl_->frame.pack(entry);
  const std::lock_guard lock(impl_->mutex);
  impl_->write(frame);
}

namespace {

/// Of a row that was written twice the last entry counts.
void drop_superseded(std::vector<WorkEntry>& entries) {
  std::set<std::pair<uint32_t, uint64_t>> seen;
  std::vector<WorkEntry> kept;
  for (auto entry = entries.rbegin(); entry != entries.rend(); ++entry) {
    if (seen.emplace(entry->group, entry->row).second) kept.push_back(std::move(*entry));
  }
  std::ranges::reverse(kept);
  entries = std::move(kept);
}

}  // namespace

std::optional<InterruptedWork> read_journal(const fs::path& shard) {
  if (!is_file(journal_path(shard))) return std::nullopt;
  InterruptedWork work{.shard = shard};
  try {
    const std::string content = read_file(journal_path(shard), kMostBytes);
    const size_t header = content.find('\n');
    if (header == std::string::npos) return std::nullopt;
    parse_header(kessoku::parse_json(content.substr(0, header), shard.string()), work);
    const Frame frame(work.layout);
    for (work.bytes = header + 1; content.size() - work.bytes >= frame.bytes();
         work.bytes += frame.bytes()) {
      auto entry = frame.unpack(std::string_view(content).substr(work.bytes, frame.bytes()));
      if (!entry || entry->group >= work.layout.groups.size() ||
          entry->row >= work.layout.groups[entry->group].rows) {
        break;
      }
      work.entries.push_back(std::move(*entry));
    }
    drop_superseded(work.entries);
  } catch (const json::exception&) {
    return std::nullopt;
  } catch (const SystemError&) {  // what is done is still there
    throw;
  } catch (const Error&) {
    return std::nullopt;
  }
  return work;
}

}  // namespace kessoku::data
