#include "data/store/shard_writer.h"

#include <fmt/format.h>

#include <atomic>

#include "base/checksum.h"
#include "base/error.h"
#include "base/file.h"
#include "base/random_access_file.h"
#include "data/store/shard_columns.h"
#include "data/store/shard_schema.h"

namespace kessoku::data {

namespace fs = std::filesystem;

namespace {
constexpr uint64_t kFlushedAtOnce = uint64_t{64} << 20;
}

struct ShardWriter::Impl {
  /// The rows of one kind in one group.
  struct Place {
    uint64_t offset = 0;
    uint64_t row_bytes = 0;
    std::vector<uint64_t> checksums;  ///< (rows, variants)
  };

  Impl(const fs::path& the_path, ShardLayout the_layout, const std::string& part_suffix)
      : path(the_path), part(the_path.string() + part_suffix), layout(std::move(the_layout)) {
    places.resize(layout.groups.size());
    for (size_t g = 0; g < places.size(); ++g) {
      const ShardLayout::Group& group = layout.groups[g];
      for (const Kind kind : layout.kept) {
        places[g][kind] = {0, row_bytes(kind, group.shapes.at(kind)),
                           std::vector<uint64_t>(group.rows * variants())};
      }
    }
  }

  fs::path path, part;
  ShardLayout layout;
  std::vector<std::map<Kind, Place>> places;
  std::unique_ptr<RandomAccessFile> file;
  std::atomic<uint64_t> written{0};

  uint64_t variants() const { return static_cast<uint64_t>(layout.variants); }
  std::vector<hsize_t> dims(const ShardLayout::Group& group, Kind kind) const {
    std::vector<hsize_t> result{group.rows, variants()};
    for (const int64_t side : group.shapes.at(kind)) result.push_back(static_cast<hsize_t>(side));
    return result;
  }
  void create();
  bool find_places();
  void open() { file = std::make_unique<RandomAccessFile>(part, RandomAccessFile::Mode::kWrite); }

  uint64_t index(size_t group, uint64_t row, int64_t variant) const {
    if (row >= layout.groups.at(group).rows || variant < 0 || variant >= layout.variants)
      throw std::logic_error("ShardWriter: a row that does not fit its bucket");
    return row * variants() + static_cast<uint64_t>(variant);
  }
};

/// The rows' places in the file are fixed when their datasets are made; the file is a sound HDF5
/// file from then on.
void ShardWriter::Impl::create() {
  const Hdf5Quiet quiet;
  const std::string where = part.string();
  const Hdf5Id plist(H5Pcreate(H5P_DATASET_CREATE), H5Pclose, where);
  H5Pset_layout(plist, H5D_CONTIGUOUS);
  H5Pset_alloc_time(plist, H5D_ALLOC_TIME_EARLY);
  H5Pset_fill_time(plist, H5D_FILL_TIME_NEVER);
  Hdf5Id hdf5 = create_shard_file(part);
  for (size_t g = 0; g < layout.groups.size(); ++g) {
    const Hdf5Id group = create_group(hdf5, layout.groups[g].bucket, where);
    for (const Kind kind : layout.kept) {
      const std::vector<hsize_t> all = dims(layout.groups[g], kind);
      const Hdf5Id space(H5Screate_simple(static_cast<int>(all.size()), all.data(), nullptr),
                         H5Sclose, where);
      const hid_t dataset = H5Dcreate2(group, to_string(kind).c_str(), element_type(kind), space,
                                       H5P_DEFAULT, plist, H5P_DEFAULT);
      if (dataset < 0) throw_hdf5_write_error(where);
      const Hdf5Id keep(dataset, H5Dclose, where);
      places[g][kind].offset = H5Dget_offset(dataset);
    }
  }
  if (H5Fflush(hdf5, H5F_SCOPE_GLOBAL) < 0) throw_hdf5_write_error(where);
}

bool ShardWriter::Impl::find_places() {
  const Hdf5Quiet quiet;
  const std::string where = part.string();
  const Hdf5Id access = file_access();
  const Hdf5Id hdf5(H5Fopen(where.c_str(), H5F_ACC_RDONLY, access), H5Fclose, where);
  for (size_t g = 0; g < layout.groups.size(); ++g) {
    const std::string name = to_string(layout.groups[g].bucket);
    const Hdf5Id group(H5Gopen2(hdf5, name.c_str(), H5P_DEFAULT), H5Gclose, where);
    for (const Kind kind : layout.kept) {
      const CheckedDataset dataset = open_dataset(group, to_string(kind), where, file->size());
      const std::vector<hsize_t> expected = dims(layout.groups[g], kind);
      if (!dataset.offset || !std::ranges::equal(dataset.dims, expected)) return false;
      places[g][kind].offset = *dataset.offset;
    }
  }
  return true;
}

uint64_t row_bytes(Kind kind, const std::vector<int64_t>& shape) {
  uint64_t bytes = element_bytes(kind);
  for (const int64_t side : shape) bytes *= static_cast<uint64_t>(side);
  return bytes;
}

ShardWriter::ShardWriter(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

ShardWriter::ShardWriter(const fs::path& path, ShardLayout layout, const std::string& part_suffix)
    : impl_(std::make_unique<Impl>(path, std::move(layout), part_suffix)) {
  impl_->create();
  impl_->open();
  impl_->file->reserve(impl_->file->size());
}

std::unique_ptr<ShardWriter> ShardWriter::resume(const fs::path& path, ShardLayout layout) {
  auto impl = std::make_unique<Impl>(path, std::move(layout), ".part");
  try {
    impl->open();
    if (!impl->find_places()) return nullptr;
  } catch (const DataError&) {
    return nullptr;
  }
  return std::unique_ptr<ShardWriter>(new ShardWriter(std::move(impl)));
}

ShardWriter::~ShardWriter() = default;

const ShardLayout& ShardWriter::layout() const { return impl_->layout; }
const fs::path& ShardWriter::path() const { return impl_->path; }

uint64_t ShardWriter::offset(size_t group, Kind kind) const {
  return impl_->places.at(group).at(kind).offset;
}

uint64_t ShardWriter::write(size_t group, uint64_t row, Kind kind, int64_t variant,
                            std::span<const std::byte> bytes) {
  const uint64_t index = impl_->index(group, row, variant);
  Impl::Place& place = impl_->places[group].at(kind);
  if (bytes.size() != place.row_bytes)
    throw std::logic_error("ShardWriter: bytes that are not a row's");
  impl_->file->write(place.offset + index * place.row_bytes, bytes);
  const uint64_t before = impl_->written.fetch_add(bytes.size());
  // So that `finish` waits less for the disk.
  if (before / kFlushedAtOnce != (before + bytes.size()) / kFlushedAtOnce)
    impl_->file->begin_flush();
  return place.checksums[index] = checksum(bytes);
}

void ShardWriter::take(size_t group, uint64_t row, Kind kind, int64_t variant, uint64_t checksum) {
  impl_->places.at(group).at(kind).checksums[impl_->index(group, row, variant)] = checksum;
}

void ShardWriter::copy(size_t group, uint64_t row, ShardWriter& to, size_t to_group,
                       uint64_t to_row) const {
  for (const auto& [kind, place] : impl_->places.at(group)) {
    std::vector<std::byte> bytes(place.row_bytes);
    for (int64_t v = 0; v < impl_->layout.variants; ++v) {
      const uint64_t index = impl_->index(group, row, v);
      impl_->file->read(place.offset + index * place.row_bytes, bytes);
      if (to.write(to_group, to_row, kind, v, bytes) == place.checksums[index]) continue;
      throw DataError(
          fmt::format("{}: a row that was just written reads otherwise; is the disk sound?",
                      impl_->part.string()));
    }
  }
}

uint64_t ShardWriter::checksum_of(size_t group, uint64_t row, Kind kind, int64_t variant) const {
  return impl_->places.at(group).at(kind).checksums[impl_->index(group, row, variant)];
}

StoreManifest::Shard ShardWriter::finish(const std::vector<std::vector<RowInfo>>& rows) {
  StoreManifest::Shard entry{.file = impl_->path.filename().string()};
  const std::string where = impl_->part.string();
  {
    const Hdf5Quiet quiet;
    const Hdf5Id access = file_access();
    const hid_t opened = H5Fopen(where.c_str(), H5F_ACC_RDWR, access);
    if (opened < 0) throw_hdf5_write_error(where);
    const Hdf5Id hdf5(opened, H5Fclose, where);
    for (size_t g = 0; g < impl_->places.size(); ++g) {
      const ShardLayout::Group& layout = impl_->layout.groups[g];
      if (rows.at(g).size() != layout.rows) throw std::logic_error("ShardWriter: rows are missing");
      const std::string name = to_string(layout.bucket);
      const Hdf5Id group(H5Gopen2(hdf5, name.c_str(), H5P_DEFAULT), H5Gclose, where);
      RowChecksums checksums;
      for (const auto& [kind, place] : impl_->places[g]) checksums[kind] = place.checksums;
      entry.rows[name] = layout.rows;
      entry.digests[name] = write_columns(group, rows[g], checksums, impl_->layout.kept,
                                          impl_->layout.variants, where);
    }
    if (H5Fflush(hdf5, H5F_SCOPE_GLOBAL) < 0) throw_hdf5_write_error(where);
  }
  impl_->file->flush();
  entry.bytes = fs::file_size(impl_->part);
  fs::rename(impl_->part, impl_->path);
  fsync_path(impl_->path.has_parent_path() ? impl_->path.parent_path() : fs::path("."));
  return entry;
}

}  // namespace kessoku::data
