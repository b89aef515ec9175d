#include "data/prepare/reusable_rows.h"

#include <fmt/format.h>

#include "base/checksum.h"
#include "base/error.h"
#include "base/folder.h"

namespace kessoku::data {

namespace fs = std::filesystem;

namespace {

/// Changes when the same image would give other pixels.
constexpr int kImageRules = 2;
constexpr std::string_view kJournal = ".journal";

/// The part, or what `finish` made of it before the work was interrupted.
std::unique_ptr<RandomAccessFile> open_part(const fs::path& shard) {
  for (const fs::path& path : {fs::path(shard.string() + ".part"), shard}) {
    if (is_file(path))
      return std::make_unique<RandomAccessFile>(path, RandomAccessFile::Mode::kRead);
  }
  return nullptr;
}

bool keeps_all(const std::vector<Kind>& kept, const std::vector<Kind>& wanted) {
  return std::ranges::all_of(
      wanted, [&](Kind kind) { return std::ranges::find(kept, kind) != kept.end(); });
}

}  // namespace

ReusableRows::ReusableRows(std::unique_ptr<Store> store, std::vector<InterruptedWork> works)
    : store_(std::move(store)), works_(std::move(works)) {
  if (store_) {
    for (const uint64_t content : store_->content_hashes())
      index_.push_back({content, {0, index_.size()}});
  }
  for (uint32_t w = 0; w < works_.size(); ++w) {
    parts_.push_back(open_part(works_[w].shard));
    for (uint64_t e = 0; parts_[w] && e < works_[w].entries.size(); ++e)
      index_.push_back({works_[w].entries[e].provenance.content_hash, {w + 1, e}});
  }
  std::ranges::stable_sort(index_, {}, &Known::content);
}

std::optional<ReusableRows::Place> ReusableRows::find(uint64_t content, const std::string& source,
                                                      const Bucket& wanted) const {
  std::optional<Place> found;
  for (const Known& known : std::ranges::equal_range(index_, content, {}, &Known::content)) {
    if (bucket(known.place) != wanted) continue;
    if (known.place.from_store() && store_->source(known.place.row) == source) return known.place;
    if (!found) found = known.place;
  }
  return found;
}

Bucket ReusableRows::bucket(const Place& place) const {
  if (place.from_store()) return store_->manifest().buckets[store_->rows()[place.row].bucket];
  const InterruptedWork& work = works_[place.origin - 1];
  return work.layout.groups[work.entries[place.row].group].bucket;
}

Provenance ReusableRows::provenance(const Place& place) const {
  if (place.from_store()) return store_->provenance(place.row);
  return works_[place.origin - 1].entries[place.row].provenance;
}

std::vector<Variant> ReusableRows::variants(const Place& place) const {
  if (!place.from_store()) return works_[place.origin - 1].entries[place.row].variants;
  std::vector<Variant> variants;
  for (int64_t v = 0; v < store_->variants(); ++v)
    variants.push_back(store_->variant(place.row, v));
  return variants;
}

void ReusableRows::read(const Place& place, Kind kind, int64_t variant,
                        std::span<std::byte> out) const {
  if (place.from_store()) return store_->read(place.row, kind, variant, out);
  const InterruptedWork& work = works_[place.origin - 1];
  const WorkEntry& entry = work.entries[place.row];
  const auto v = static_cast<uint64_t>(variant),
             variants = static_cast<uint64_t>(work.layout.variants);
  const ShardLayout::Group& group = work.layout.groups[entry.group];
  if (out.size() != row_bytes(kind, group.shapes.at(kind)))
    throw DataError(fmt::format("{}: rows of another size", work.shard.string()));
  const uint64_t index = entry.row * variants + v;
  parts_[place.origin - 1]->read(work.offsets[entry.group].at(kind) + index * out.size(), out);
  const auto k =
      static_cast<uint64_t>(std::ranges::find(work.layout.kept, kind) - work.layout.kept.begin());
  if (checksum(out) != entry.checksums[k * variants + v]) {
    throw DataError(
        fmt::format("{}: a row of interrupted work did not reach the disk", work.shard.string()));
  }
}

void ReusableRows::verify(const Place& place, const std::vector<Kind>& kinds) const {
  for (const Kind kind : kinds) {
    std::vector<std::byte> bytes(row_bytes(kind, store_->shape(place.row, kind)));
    for (int64_t v = 0; v < store_->variants(); ++v) store_->read(place.row, kind, v, bytes);
  }
}

std::string row_settings(const std::vector<Bucket>& table, int64_t variants,
                         const std::string& other) {
  std::string text = fmt::format("{} {} {}", kImageRules, variants, other);
  for (const Bucket& bucket : table) text += " " + to_string(bucket);
  return to_hex(checksum(std::as_bytes(std::span(text))));
}

std::vector<InterruptedWork> find_interrupted_works(const fs::path& store,
                                                    const std::string& settings,
                                                    const std::vector<Kind>& keep) {
  std::vector<std::string> journals;
  for (const auto& entry : list_folder(store)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with("shard-") && name.ends_with(kJournal)) journals.push_back(name);
  }
  std::ranges::sort(journals);
  std::vector<InterruptedWork> works;
  for (const std::string& name : journals) {
    auto work = read_journal(store / name.substr(0, name.size() - kJournal.size()));
    if (work && work->settings == settings && keeps_all(work->layout.kept, keep))
      works.push_back(std::move(*work));
  }
  return works;
}

}  // namespace kessoku::data
