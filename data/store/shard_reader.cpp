#include "data/store/shard_reader.h"

#include <fmt/format.h>

#include "base/error.h"
#include "data/store/shard_schema.h"

namespace kessoku::data {

struct ShardReader::Library {
  Hdf5Id columns, rows;
  std::mutex mutex;
  hid_t file_of_rows() const { return rows >= 0 ? rows : columns; }
};

namespace {

std::unique_ptr<RandomAccessFile> open_raw(const std::filesystem::path& path, uint64_t bytes) {
  auto file = std::make_unique<RandomAccessFile>(path, RandomAccessFile::Mode::kRead);
  if (bytes != 0 && bytes != file->size()) {
    throw DataError(fmt::format(
        "{}: has {} bytes where store.json says {} ({}); {}", path.string(), file->size(), bytes,
        bytes > file->size() ? "cut short?" : "something was added", kPrepareAgain));
  }
  return file;
}

Hdf5Id open_library(const std::filesystem::path& path) {
  const Hdf5Id access = file_access();
  return {H5Fopen(path.c_str(), H5F_ACC_RDONLY, access), H5Fclose,
          fmt::format("{}: damaged, or not an HDF5 file; {}", path.string(), kPrepareAgain)};
}

}  // namespace

ShardReader::ShardReader(const std::filesystem::path& store, const StoreManifest::Shard& entry,
                         const StoreManifest& manifest)
    : name_((store / entry.file).string()), library_(std::make_unique<Library>()) {
  const Hdf5Quiet quiet;
  try {
    open(store, entry);
    bool all_direct = true;
    for (const auto& [bucket, rows] : entry.rows) {
      if (rows == 0) continue;
      BucketColumns columns =
          read_bucket({library_->columns, *columns_file_, library_->file_of_rows(),
                       rows_file_ ? *rows_file_ : *columns_file_},
                      bucket, rows, manifest, name_);
      const auto expected = entry.digests.find(bucket);
      if (expected != entry.digests.end() && expected->second != columns.digest) {
        throw DataError(fmt::format(
            "{}:/{}: captions or other columns are damaged: their checksum does not hold; {}",
            name_, bucket, kPrepareAgain));
      }
      for (const auto& [kind, payload] : columns.payloads) all_direct &= payload.offset.has_value();
      buckets_.emplace(bucket, std::move(columns));
    }
    if (all_direct) library_.reset();
  } catch (const std::bad_alloc&) {
    library_.reset();
    throw DataError(name_ + ": claims more than memory can hold");
  } catch (...) {
    library_.reset();
    throw;
  }
}

ShardReader::~ShardReader() {
  const Hdf5Quiet quiet;
  library_.reset();
}

void ShardReader::open(const std::filesystem::path& store, const StoreManifest::Shard& entry) {
  columns_file_ = open_raw(name_, entry.bytes);
  H5PLset_loading_state(0);  // a file must not choose code to be loaded
  library_->columns = open_library(name_);
  check_version(library_->columns, name_);
  if (entry.rows_file.empty()) return;
  rows_file_ = open_raw(store / entry.rows_file, entry.rows_bytes);
  library_->rows = open_library(store / entry.rows_file);
}

void ShardReader::drop_indices() {
  for (auto& [name, columns] : buckets_) columns.category = columns.settings = {};
}

void ShardReader::hold_captions() {
  for (auto& [name, columns] : buckets_) {
    columns.captions.bytes.hold();
    columns.caption_parts.bytes.hold();
  }
}

void ShardReader::read(const Payload& payload, uint64_t row, int64_t variant,
                       std::span<std::byte> out) const {
  if (!payload.offset) return read_by_library(payload, row, variant, out.data());
  const RandomAccessFile& file = rows_file_ ? *rows_file_ : *columns_file_;
  file.read(*payload.offset + payload.index(row, variant) * payload.row_bytes, out);
}

void ShardReader::read_by_library(const Payload& payload, uint64_t row, int64_t variant,
                                  void* out) const {
  const std::lock_guard lock(library_->mutex);
  const Hdf5Quiet quiet;
  const std::string name = fmt::format("{}/{}", payload.bucket, to_string(payload.kind));
  const std::string where = fmt::format("{}:/{}", name_, name);
  const Hdf5Id dataset(H5Dopen2(library_->file_of_rows(), name.c_str(), H5P_DEFAULT), H5Dclose,
                       where + ": cannot be opened");
  const auto& shape = payload.shape;
  std::vector<hsize_t> start(2 + shape.size()), count{1, 1};
  start[0] = row;
  start[1] = static_cast<hsize_t>(variant);
  count.insert(count.end(), shape.begin(), shape.end());
  const Hdf5Id space(H5Dget_space(dataset), H5Sclose, where);
  const Hdf5Id memory(H5Screate_simple(static_cast<int>(count.size()), count.data(), nullptr),
                      H5Sclose, where);
  if (H5Sselect_hyperslab(space, H5S_SELECT_SET, start.data(), nullptr, count.data(), nullptr) <
          0 ||
      H5Dread(dataset, element_type(payload.kind), memory, space, H5P_DEFAULT, out) < 0) {
    throw_hdf5_read_error(fmt::format("{}: row {} cannot be read", where, row));
  }
}

}  // namespace kessoku::data
