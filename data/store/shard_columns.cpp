#include "data/store/shard_columns.h"

#include <fmt/format.h>

#include "base/system_error.h"

namespace kessoku::data {

namespace {

/// The texts of a column end to end, and where each begins.
struct Blob {
  std::string bytes;
  std::vector<uint64_t> offsets{0};
  void add(const std::string& text) {
    bytes += text;
    offsets.push_back(bytes.size());
  }
};

/// An HDF5 identifier of something that is being written.
Hdf5Id written(hid_t id, herr_t (*close)(hid_t), const std::string& where) {
  if (id < 0) throw_hdf5_write_error(where);
  return {id, close, where};
}

class ColumnWriter {
 public:
  ColumnWriter(hid_t group, const std::string& where) : group_(group), where_(where) {}

  std::string digest() const { return digest_.hex(); }

  template <typename T>
  void column(const std::string& name, const std::vector<hsize_t>& dims,
              const std::vector<T>& values) {
    column(name, dims, std::as_bytes(std::span(values)), hdf5_type<T>());
  }

  void blob(const std::string& name, const Blob& blob) {
    column(name + "_bytes", {blob.bytes.size()}, std::as_bytes(std::span(blob.bytes)),
           H5T_STD_U8LE);
    column(name + "_offsets", {blob.offsets.size()}, blob.offsets);
  }

 private:
  template <typename T>
  static hid_t hdf5_type() {
    if constexpr (sizeof(T) == 1) return H5T_STD_U8LE;
    if constexpr (sizeof(T) == 8) return H5T_STD_U64LE;
    return std::is_signed_v<T> ? H5T_STD_I32LE : H5T_STD_U32LE;
  }

  void column(const std::string& name, const std::vector<hsize_t>& dims,
              std::span<const std::byte> bytes, hid_t type) {
    const Hdf5Id space = written(
        H5Screate_simple(static_cast<int>(dims.size()), dims.data(), nullptr), H5Sclose, where_);
    const Hdf5Id dataset = written(
        H5Dcreate2(group_, name.c_str(), type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT),
        H5Dclose, where_);
    // All our machines are little-endian: bytes in memory are bytes in the file.
    if (!bytes.empty() && H5Dwrite(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, bytes.data()) < 0)
      throw_hdf5_write_error(where_);
    digest_.add(name, bytes);
  }

  hid_t group_;
  const std::string& where_;
  ColumnsDigest digest_;
};

}  // namespace

void throw_hdf5_write_error(const std::string& where) {
  throw SystemError(fmt::format("{}: cannot be written; is the disk full?", where));
}

std::string write_columns(hid_t group, const std::vector<RowInfo>& rows,
                          const RowChecksums& checksums, const std::vector<Kind>& kept,
                          int64_t variants, const std::string& where) {
  Blob captions, parts, sources;
  std::vector<uint32_t> category, settings, source_size;
  std::vector<int32_t> crop, variant_crop;
  std::vector<uint8_t> variant_flip;
  std::vector<uint64_t> content_hash;
  for (const RowInfo& row : rows) {
    captions.add(row.caption);
    parts.add(row.caption_parts);
    sources.add(row.source);
    category.push_back(row.category);
    settings.push_back(row.settings);
    source_size.insert(source_size.end(),
                       {row.provenance.source_width, row.provenance.source_height});
    crop.insert(crop.end(), row.provenance.crop.begin(), row.provenance.crop.end());
    content_hash.push_back(row.provenance.content_hash);
    for (const Variant& variant : row.variants) {
      variant_crop.insert(variant_crop.end(), variant.crop.begin(), variant.crop.end());
      variant_flip.push_back(variant.flipped ? 1 : 0);
    }
  }
  const hsize_t n = rows.size(), v = static_cast<hsize_t>(variants);
  ColumnWriter writer(group, where);
  writer.blob("caption", captions);
  writer.blob("caption_parts", parts);
  writer.blob("source", sources);
  writer.column("category", {n}, category);
  writer.column("settings", {n}, settings);
  writer.column("source_size", {n, 2}, source_size);
  writer.column("crop", {n, 4}, crop);
  writer.column("content_hash", {n}, content_hash);
  if (variants > 1) {
    if (variant_flip.size() != n * v) throw std::logic_error("write_columns: variants are missing");
    writer.column("variant_crop", {n, v, 4}, variant_crop);
    writer.column("variant_flip", {n, v}, variant_flip);
  }
  for (const auto& [kind, sums] : checksums)
    writer.column(checksum_column(kind, kept), {n, v}, sums);
  return writer.digest();
}

Hdf5Id create_shard_file(const std::filesystem::path& path) {
  constexpr hsize_t kAlignment = 4096;
  const std::string where = path.string();
  const Hdf5Id access = file_access();
  H5Pset_alignment(access, kAlignment, kAlignment);
  Hdf5Id file =
      written(H5Fcreate(where.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, access), H5Fclose, where);
  const Hdf5Id space(H5Screate(H5S_SCALAR), H5Sclose, where);
  const Hdf5Id attribute =
      written(H5Acreate2(file, kVersionAttribute, H5T_STD_I32LE, space, H5P_DEFAULT, H5P_DEFAULT),
              H5Aclose, where);
  if (H5Awrite(attribute, H5T_NATIVE_INT, &kStoreVersion) < 0) throw_hdf5_write_error(where);
  return file;
}

Hdf5Id create_group(hid_t file, const Bucket& bucket, const std::string& where) {
  return written(H5Gcreate2(file, to_string(bucket).c_str(), H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT),
                 H5Gclose, where);
}

}  // namespace kessoku::data
