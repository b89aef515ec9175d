#include "data/store_writer.h"

#include <fmt/format.h>

#include "base/checksum.h"
#include "base/error.h"
#include "base/file.h"
#include "data/store_layout.h"

namespace kessoku::data {

namespace fs = std::filesystem;

namespace {

constexpr hsize_t kAlignment = 4096;

/// The texts of a column end to end, and where each begins.
struct Blob {
  std::string bytes;
  std::vector<uint64_t> offsets{0};
  void add(const std::string& text) {
    bytes += text;
    offsets.push_back(bytes.size());
  }
};

}  // namespace

struct ShardWriter::Impl {
  struct Dataset {
    Hdf5Id id;
    uint64_t row_bytes = 0;
    std::vector<hsize_t> shape;       ///< N, V, …
    std::vector<uint64_t> checksums;  ///< (N, V)
  };

  fs::path path, temporary;
  std::vector<Kind> kept;
  Hdf5Id file, group;
  std::map<Kind, Dataset> datasets;     ///< of the current bucket
  std::optional<ColumnsDigest> digest;  ///< of the current bucket
  std::string bucket;
  StoreManifest::Shard entry;
  bool finished = false;

  std::string failed(const std::string& what) const {
    return fmt::format("{}: cannot write {} (is the disk full?)", temporary.string(), what);
  }

  Hdf5Id create(const std::string& name, hid_t type, const std::vector<hsize_t>& dims, bool early) {
    const Hdf5Id space(H5Screate_simple(static_cast<int>(dims.size()), dims.data(), nullptr),
                       H5Sclose, failed(name));
    const Hdf5Id plist(H5Pcreate(H5P_DATASET_CREATE), H5Pclose, failed(name));
    H5Pset_layout(plist, H5D_CONTIGUOUS);
    if (early) {
      // The rows' place in the file is then fixed at once, and they are not first filled with
      // zeros.
      H5Pset_alloc_time(plist, H5D_ALLOC_TIME_EARLY);
      H5Pset_fill_time(plist, H5D_FILL_TIME_NEVER);
    }
    return {H5Dcreate2(group, name.c_str(), type, space, H5P_DEFAULT, plist, H5P_DEFAULT), H5Dclose,
            failed(name)};
  }

  void column(const std::string& name, hid_t type, hid_t memory_type,
              const std::vector<hsize_t>& dims, const void* values) {
    const Hdf5Id dataset = create(name, type, dims, false);
    for (const hsize_t dim : dims) {
      if (dim == 0) return;
    }
    if (H5Dwrite(dataset, memory_type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) < 0)
      throw DataError(failed(name));
  }

  void blob(const std::string& name, const Blob& blob) {
    column(name + "_bytes", H5T_STD_U8LE, H5T_NATIVE_UINT8, {blob.bytes.size()}, blob.bytes.data());
    column(name + "_offsets", H5T_STD_U64LE, H5T_NATIVE_UINT64, {blob.offsets.size()},
           blob.offsets.data());
  }

  void columns(const std::vector<RowInfo>& rows) {
    Blob captions, parts, sources;
    std::vector<uint32_t> category, settings, source_size;
    std::vector<int32_t> crop;
    std::vector<uint64_t> content_hash;
    for (const RowInfo& row : rows) {
      digest->add_row(row);
      captions.add(row.caption);
      parts.add(row.caption_parts);
      sources.add(row.source);
      category.push_back(row.category);
      settings.push_back(row.settings);
      source_size.insert(source_size.end(),
                         {row.provenance.source_width, row.provenance.source_height});
      crop.insert(crop.end(), row.provenance.crop.begin(), row.provenance.crop.end());
      content_hash.push_back(row.provenance.content_hash);
    }
    const hsize_t n = rows.size();
    blob("caption", captions);
    blob("caption_parts", parts);
    blob("source", sources);
    column("category", H5T_STD_U32LE, H5T_NATIVE_UINT32, {n}, category.data());
    column("settings", H5T_STD_U32LE, H5T_NATIVE_UINT32, {n}, settings.data());
    column("source_size", H5T_STD_U32LE, H5T_NATIVE_UINT32, {n, 2}, source_size.data());
    column("crop", H5T_STD_I32LE, H5T_NATIVE_INT32, {n, 4}, crop.data());
    column("content_hash", H5T_STD_U64LE, H5T_NATIVE_UINT64, {n}, content_hash.data());
  }

  void end_bucket() {
    for (auto& [kind, dataset] : datasets) {
      column(checksum_column(kind, kept), H5T_STD_U64LE, H5T_NATIVE_UINT64,
             {dataset.shape[0], dataset.shape[1]}, dataset.checksums.data());
      digest->add_checksums(dataset.checksums);
    }
    if (digest) entry.digests[bucket] = digest->hex();
    digest.reset();
    datasets.clear();
    group = Hdf5Id();
  }
};

ShardWriter::ShardWriter(const fs::path& path, std::vector<Kind> kept)
    : impl_(std::make_unique<Impl>()) {
  const Hdf5Quiet quiet;
  impl_->path = path;
  impl_->temporary = path.string() + ".tmp";
  impl_->kept = std::move(kept);
  impl_->entry.file = path.filename().string();
  const Hdf5Id access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose, impl_->failed("it"));
  H5Pset_alignment(access, kAlignment, kAlignment);
  impl_->file = {H5Fcreate(impl_->temporary.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, access), H5Fclose,
                 impl_->failed("it")};
}

ShardWriter::~ShardWriter() {
  if (impl_->finished) return;
  const Hdf5Quiet quiet;
  impl_->datasets.clear();
  impl_->group = Hdf5Id();
  impl_->file = Hdf5Id();
  std::error_code ignored;
  fs::remove(impl_->temporary, ignored);
}

void ShardWriter::begin_bucket(const Bucket& bucket, const std::vector<RowInfo>& rows,
                               const std::map<Kind, std::vector<int64_t>>& shapes) {
  const Hdf5Quiet quiet;
  impl_->end_bucket();
  const std::string name = impl_->bucket = to_string(bucket);
  impl_->digest.emplace();
  impl_->entry.rows[name] = rows.size();
  impl_->group = {H5Gcreate2(impl_->file, name.c_str(), H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT),
                  H5Gclose, impl_->failed(name)};
  for (const Kind kind : impl_->kept) {
    Impl::Dataset& dataset = impl_->datasets[kind];
    dataset.shape = {rows.size(), 1};
    dataset.row_bytes = element_bytes(kind);
    for (const int64_t side : shapes.at(kind)) {
      dataset.shape.push_back(static_cast<hsize_t>(side));
      dataset.row_bytes *= static_cast<uint64_t>(side);
    }
    dataset.checksums.resize(rows.size());
    dataset.id = impl_->create(to_string(kind), element_type(kind), dataset.shape, true);
  }
  impl_->columns(rows);
}

void ShardWriter::write(uint64_t row, Kind kind, std::span<const std::byte> bytes) {
  const Hdf5Quiet quiet;
  Impl::Dataset& dataset = impl_->datasets.at(kind);
  if (row >= dataset.shape[0] || bytes.size() != dataset.row_bytes) {
    throw std::logic_error("ShardWriter: a row that does not fit its bucket");
  }
  std::vector<hsize_t> start(dataset.shape.size()), count = dataset.shape;
  start[0] = row;
  count[0] = 1;
  const Hdf5Id memory(H5Screate_simple(static_cast<int>(count.size()), count.data(), nullptr),
                      H5Sclose, "memory");
  const Hdf5Id space(H5Dget_space(dataset.id), H5Sclose, impl_->failed("a row"));
  H5Sselect_hyperslab(space, H5S_SELECT_SET, start.data(), nullptr, count.data(), nullptr);
  if (H5Dwrite(dataset.id, element_type(kind), memory, space, H5P_DEFAULT, bytes.data()) < 0) {
    throw DataError(impl_->failed("a row"));
  }
  dataset.checksums[row] = checksum(bytes);
}

StoreManifest::Shard ShardWriter::finish() {
  const Hdf5Quiet quiet;
  impl_->end_bucket();
  if (H5Fflush(impl_->file, H5F_SCOPE_GLOBAL) < 0) throw DataError(impl_->failed("it"));
  impl_->file = Hdf5Id();
  fsync_path(impl_->temporary);
  impl_->entry.bytes = fs::file_size(impl_->temporary);
  fs::rename(impl_->temporary, impl_->path);
  impl_->finished = true;
  fsync_path(impl_->path.has_parent_path() ? impl_->path.parent_path() : fs::path("."));
  return impl_->entry;
}

}  // namespace kessoku::data
