#include "data/shard_reader.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/error.h"
#include "data/shard_schema.h"

namespace kessoku::data {

struct ShardReader::Library {
  Hdf5Id file;
  std::mutex mutex;
};

ShardReader::ShardReader(const std::filesystem::path& path, const StoreManifest::Shard& entry,
                         const StoreManifest& manifest)
    : name_(path.string()), library_(std::make_unique<Library>()) {
  try {
    const Hdf5Quiet quiet;
    open(path, entry);
    bool all_direct = true;
    for (const auto& [bucket, rows] : entry.rows) {
      if (rows == 0) continue;
      BucketColumns columns = read_bucket(library_->file, bucket, rows, manifest, name_, size_);
      check_digest(columns, bucket, entry);
      for (const auto& [kind, payload] : columns.payloads) all_direct &= payload.offset.has_value();
      buckets_.emplace(bucket, std::move(columns));
    }
    if (all_direct) library_.reset();
  } catch (const std::bad_alloc&) {
    if (descriptor_ >= 0) ::close(descriptor_);
    throw DataError(name_ + ": claims more than memory can hold");
  } catch (...) {
    if (descriptor_ >= 0) ::close(descriptor_);
    throw;
  }
}

ShardReader::~ShardReader() {
  const Hdf5Quiet quiet;
  library_.reset();
  if (descriptor_ >= 0) ::close(descriptor_);
}

void ShardReader::open(const std::filesystem::path& path, const StoreManifest::Shard& entry) {
  descriptor_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  struct stat status {};
  if (descriptor_ < 0 || ::fstat(descriptor_, &status) != 0 || !S_ISREG(status.st_mode)) {
    throw DataError(fmt::format("{}: store.json lists it, but it cannot be opened: {}", name_,
                                std::strerror(errno)));
  }
  size_ = static_cast<uint64_t>(status.st_size);
  if (entry.bytes != 0 && entry.bytes != size_) {
    throw DataError(fmt::format(
        "{}: has {} bytes where store.json says {} (cut short?); prepare the store again", name_,
        size_, entry.bytes));
  }
  H5PLset_loading_state(0);  // a file must not choose code to be loaded
  library_->file = {H5Fopen(path.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT), H5Fclose,
                    name_ + ": damaged, or not an HDF5 file; prepare the store again"};
}

void ShardReader::drop_texts() {
  for (auto& [name, columns] : buckets_) {
    columns.captions = columns.caption_parts = columns.sources = {};
    columns.category = columns.settings = {};
    columns.provenance = {};
  }
}

void ShardReader::check_digest(const BucketColumns& columns, const std::string& bucket,
                               const StoreManifest::Shard& entry) const {
  const auto expected = entry.digests.find(bucket);
  if (expected == entry.digests.end()) return;
  ColumnsDigest digest;
  for (size_t i = 0; i < columns.sources.size(); ++i) {
    digest.add_row({columns.captions[i], columns.sources[i], columns.category[i],
                    columns.settings[i], columns.caption_parts[i], columns.provenance[i]});
  }
  for (const auto& [kind, payload] : columns.payloads) digest.add_checksums(payload.checksums);
  if (digest.hex() != expected->second) {
    throw DataError(
        fmt::format("{}:/{}: captions or other columns are damaged: their checksum does not hold; "
                    "prepare the store again",
                    name_, bucket));
  }
}

void ShardReader::read(const std::string& bucket, Kind kind, uint64_t row, int64_t variant,
                       void* out) const {
  const Payload& payload = buckets_.at(bucket).payloads.at(kind);
  if (payload.offset) {
    read_directly(payload, row, variant, out);
  } else {
    read_by_library(bucket, kind, row, variant, out);
  }
}

void ShardReader::read_directly(const Payload& payload, uint64_t row, int64_t variant,
                                void* out) const {
  const uint64_t index =
      row * static_cast<uint64_t>(payload.variants) + static_cast<uint64_t>(variant);
  uint64_t at = *payload.offset + index * payload.row_bytes;
  auto* to = static_cast<char*>(out);
  for (uint64_t left = payload.row_bytes; left > 0;) {
    const ssize_t got = ::pread(descriptor_, to, left, static_cast<off_t>(at));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) {
      throw DataError(fmt::format("{}: row {} cannot be read: {}", name_, row,
                                  got == 0 ? "the file has become shorter" : std::strerror(errno)));
    }
    to += got;
    at += static_cast<uint64_t>(got);
    left -= static_cast<uint64_t>(got);
  }
}

void ShardReader::read_by_library(const std::string& bucket, Kind kind, uint64_t row,
                                  int64_t variant, void* out) const {
  const std::lock_guard lock(library_->mutex);
  const Hdf5Quiet quiet;
  const std::string where = fmt::format("{}:/{}/{}", name_, bucket, to_string(kind));
  const Hdf5Id dataset(
      H5Dopen2(library_->file, fmt::format("{}/{}", bucket, to_string(kind)).c_str(), H5P_DEFAULT),
      H5Dclose, where + ": cannot be opened");
  const auto& shape = buckets_.at(bucket).payloads.at(kind).shape;
  std::vector<hsize_t> start(2 + shape.size()), count{1, 1};
  start[0] = row;
  start[1] = static_cast<hsize_t>(variant);
  count.insert(count.end(), shape.begin(), shape.end());
  const Hdf5Id space(H5Dget_space(dataset), H5Sclose, where);
  const Hdf5Id memory(H5Screate_simple(static_cast<int>(count.size()), count.data(), nullptr),
                      H5Sclose, where);
  if (H5Sselect_hyperslab(space, H5S_SELECT_SET, start.data(), nullptr, count.data(), nullptr) <
          0 ||
      H5Dread(dataset, element_type(kind), memory, space, H5P_DEFAULT, out) < 0) {
    throw DataError(fmt::format("{}: row {} cannot be read", where, row));
  }
}

}  // namespace kessoku::data
