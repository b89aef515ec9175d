#include "data/store/shard_schema.h"

#include <fmt/format.h>

#include "base/error.h"

namespace kessoku::data {

namespace {

/// What deflate can unpack a byte to at most, and a little more.
constexpr uint64_t kMostExpansion = 1100;
constexpr uint64_t kPiece = 1 << 20;  ///< bytes read at once

uint64_t multiply(uint64_t a, uint64_t b, const std::string& where) {
  uint64_t product = 0;
  if (__builtin_mul_overflow(a, b, &product)) throw DataError(where + ": impossible size");
  return product;
}

void expect(bool holds, const std::string& where, const char* what) {
  if (!holds) throw DataError(fmt::format("{}: {}; {}", where, what, kPrepareAgain));
}

void expect_stored(const CheckedDataset& dataset, H5D_layout_t layout, uint64_t file_bytes) {
  if (layout == H5D_CONTIGUOUS && dataset.bytes > 0) {
    expect(dataset.offset && *dataset.offset <= file_bytes &&
               dataset.bytes <= file_bytes - *dataset.offset,
           dataset.where, "reaches beyond the end of the file (cut short?)");
  } else {
    const uint64_t stored = std::min<uint64_t>(file_bytes, H5Dget_storage_size(dataset.id));
    expect(dataset.bytes / kMostExpansion <= stored, dataset.where,
           "claims more than the file can hold");
  }
}

Hdf5Id open_group(hid_t file, const std::string& bucket, const std::string& where) {
  H5L_info_t link;
  expect(H5Lget_info(file, bucket.c_str(), &link, H5P_DEFAULT) >= 0, where, "missing");
  expect(link.type == H5L_TYPE_HARD, where, "a link to elsewhere, refused");
  return {H5Gopen2(file, bucket.c_str(), H5P_DEFAULT), H5Gclose, where + ": cannot be opened"};
}

/// Opens the columns of one group, and sums up what they hold.
class ColumnReader {
 public:
  ColumnReader(hid_t group, const RandomAccessFile& file, std::string where)
      : group_(group), file_(file), where_(std::move(where)) {}

  const std::string& where() const { return where_; }
  std::string digest() const { return digest_.hex(); }
  bool has(const std::string& name) const {
    return H5Lexists(group_, name.c_str(), H5P_DEFAULT) > 0;
  }

  /// `dims` empty: one dimension of any length.
  template <typename T>
  Column column(const std::string& name, const std::vector<uint64_t>& dims) {
    static_assert(std::is_integral_v<T>);
    const hid_t types[] = {H5T_NATIVE_UINT8, H5T_NATIVE_INT32, H5T_NATIVE_UINT32,
                           H5T_NATIVE_UINT64};
    const hid_t memory_type = types[sizeof(T) == 1   ? 0
                                    : sizeof(T) == 8 ? 3
                                                     : (std::is_signed_v<T> ? 1 : 2)];
    const CheckedDataset dataset = open_dataset(group_, name, where_, file_.size());
    expect(dims.empty() ? dataset.dims.size() == 1 : dataset.dims == dims, dataset.where,
           "not of the expected shape");
    const Hdf5Id type(H5Dget_type(dataset.id), H5Tclose, dataset.where);
    expect(H5Tget_class(type) == H5T_INTEGER && H5Tget_size(type) == sizeof(T), dataset.where,
           "not of the expected type");
    Column column;
    if (dataset.offset && H5Tequal(type, memory_type) > 0) {
      column = Column(file_, *dataset.offset, dataset.bytes);
    } else if (dataset.bytes > 0) {
      std::vector<std::byte> values(dataset.bytes);
      if (H5Dread(dataset.id, memory_type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()) < 0)
        throw_hdf5_read_error(fmt::format("{}: cannot be read; {}", dataset.where, kPrepareAgain));
      column = Column(std::move(values));
    }
    digest_.add(name, column.bytes(), sum_up(column));
    return column;
  }

  TextColumn texts(const std::string& name, uint64_t rows) {
    TextColumn texts{column<uint8_t>(name + "_bytes", {}),
                     column<uint64_t>(name + "_offsets", {rows + 1}).all<uint64_t>()};
    expect(texts.offsets.front() == 0 && texts.offsets.back() == texts.bytes.bytes() &&
               std::ranges::is_sorted(texts.offsets),
           where_ + "/" + name + "_offsets", "do not fit the text");
    return texts;
  }

  /// Numbers below `bound`, which is how many of `what` store.json lists.
  std::vector<uint32_t> indices(const std::string& name, uint64_t rows, size_t bound,
                                const char* what) {
    const auto values = column<uint32_t>(name, {rows}).template all<uint32_t>();
    expect(std::ranges::all_of(values, [&](uint32_t value) { return value < bound; }),
           where_ + "/" + name, what);
    return values;
  }

 private:
  uint64_t sum_up(const Column& column) {
    Checksummer sum;
    piece_.resize(std::min(kPiece, column.bytes()));
    for (uint64_t at = 0; at < column.bytes(); at += piece_.size()) {
      const auto part = std::span(piece_).first(std::min(kPiece, column.bytes() - at));
      column.read(at, part);
      sum.add(part);
    }
    return sum.value();
  }

  hid_t group_;
  const RandomAccessFile& file_;
  std::string where_;
  ColumnsDigest digest_;
  std::vector<std::byte> piece_;
};

/// Shape and place of a kind's rows.
Payload find_payload(hid_t group, Kind kind, const Bucket& bucket, uint64_t rows,
                     const std::string& where, uint64_t file_bytes) {
  const CheckedDataset dataset = open_dataset(group, to_string(kind), where, file_bytes);
  const Hdf5Id type(H5Dget_type(dataset.id), H5Tclose, dataset.where);
  expect(H5Tequal(type, element_type(kind)) > 0, dataset.where, "not of the expected type");
  expect(dataset.dims.size() == 5 && dataset.dims[0] == rows && dataset.dims[1] > 0, dataset.where,
         "not of the expected shape");
  Payload payload{.kind = kind,
                  .bucket = to_string(bucket),
                  .rows = rows,
                  .variants = static_cast<int64_t>(dataset.dims[1])};
  payload.row_bytes = dataset.bytes / rows / dataset.dims[1];
  payload.shape.assign(dataset.dims.begin() + 2, dataset.dims.end());
  const auto& shape = payload.shape;
  expect(std::ranges::all_of(shape, [](int64_t side) { return side > 0 && side < 1 << 20; }),
         dataset.where, "not of the expected shape");
  expect(kind == Kind::kImages ? shape == std::vector<int64_t>{3, bucket.height, bucket.width}
                               : shape[2] * bucket.height == shape[1] * bucket.width,
         dataset.where, "not of the bucket's shape");
  payload.offset = dataset.offset;
  return payload;
}

}  // namespace

CheckedDataset open_dataset(hid_t group, const std::string& name, const std::string& where,
                            uint64_t file_bytes) {
  CheckedDataset dataset;
  dataset.where = where + "/" + name;
  H5L_info_t link;
  expect(H5Lget_info(group, name.c_str(), &link, H5P_DEFAULT) >= 0, dataset.where, "missing");
  expect(link.type == H5L_TYPE_HARD, dataset.where, "a link to elsewhere, refused");
  dataset.id = {H5Dopen2(group, name.c_str(), H5P_DEFAULT), H5Dclose,
                dataset.where + ": cannot be opened"};
  const Hdf5Id plist(H5Dget_create_plist(dataset.id), H5Pclose, dataset.where);
  const H5D_layout_t layout = H5Pget_layout(plist);
  expect(H5Pget_external_count(plist) == 0 && layout != H5D_VIRTUAL && layout != H5D_LAYOUT_ERROR,
         dataset.where, "stored in other files, refused");
  const Hdf5Id space(H5Dget_space(dataset.id), H5Sclose, dataset.where);
  const int rank = H5Sget_simple_extent_ndims(space);
  expect(rank > 0 && rank <= 8, dataset.where, "not of the expected shape");
  std::vector<hsize_t> dims(static_cast<size_t>(rank));
  H5Sget_simple_extent_dims(space, dims.data(), nullptr);
  const Hdf5Id type(H5Dget_type(dataset.id), H5Tclose, dataset.where);
  dataset.bytes = H5Tget_size(type);
  expect(dataset.bytes > 0 && H5Tget_class(type) != H5T_VLEN, dataset.where,
         "not of the expected type");
  for (const hsize_t dim : dims) {
    dataset.dims.push_back(dim);
    dataset.bytes = multiply(dataset.bytes, dim, dataset.where);
  }
  if (layout == H5D_CONTIGUOUS) {
    const haddr_t offset = H5Dget_offset(dataset.id);
    if (offset != HADDR_UNDEF) dataset.offset = offset;
  }
  expect_stored(dataset, layout, file_bytes);
  return dataset;
}

void check_version(hid_t file, const std::string& where) {
  if (H5Aexists(file, kVersionAttribute) <= 0) return;
  const Hdf5Id attribute(H5Aopen(file, kVersionAttribute, H5P_DEFAULT), H5Aclose, where);
  const Hdf5Id space(H5Aget_space(attribute), H5Sclose, where);
  int version = 0;
  expect(
      H5Sget_simple_extent_npoints(space) == 1 && H5Aread(attribute, H5T_NATIVE_INT, &version) >= 0,
      where, "its version cannot be read");
  if (version > kStoreVersion) {
    throw DataError(
        fmt::format("{}: a shard of version {}, this program reads {}: it was made by a newer "
                    "kessoku, use that",
                    where, version, kStoreVersion));
  }
}

BucketColumns read_bucket(const ShardFiles& files, const std::string& bucket, uint64_t rows,
                          const StoreManifest& manifest, const std::string& shard) {
  const std::string where = shard + ":/" + bucket;
  const Hdf5Id group = open_group(files.columns, bucket, where);
  ColumnReader reader(group, files.raw_columns, where);
  BucketColumns columns{.rows = rows};
  columns.category = reader.indices("category", rows, manifest.categories.size(),
                                    "names a category that store.json does not list");
  columns.settings = reader.indices("settings", rows, manifest.settings.size(),
                                    "names settings that store.json does not list");
  columns.captions = reader.texts("caption", rows);
  columns.caption_parts = reader.texts("caption_parts", rows);
  columns.sources = reader.texts("source", rows);
  columns.source_size = reader.column<uint32_t>("source_size", {rows, 2});
  columns.crop = reader.column<int32_t>("crop", {rows, 4});
  columns.content_hash = reader.column<uint64_t>("content_hash", {rows});
  const Bucket size = parse_bucket(bucket, where);
  const Hdf5Id rows_group = open_group(files.rows, bucket, where);
  for (const Kind kind : manifest.kept) {
    Payload& payload = columns.payloads[kind] =
        find_payload(rows_group, kind, size, rows, where, files.raw_rows.size());
    const auto variants = static_cast<uint64_t>(payload.variants);
    payload.checksums =
        reader.column<uint64_t>(checksum_column(kind, manifest.kept), {rows, variants})
            .all<uint64_t>();
    if (variants > 1 && columns.variant_crop.bytes() == 0) {
      columns.variant_crop = reader.column<int32_t>("variant_crop", {rows, variants, 4});
      columns.variant_flip = reader.column<uint8_t>("variant_flip", {rows, variants});
    }
  }
  columns.digest = reader.digest();
  return columns;
}

}  // namespace kessoku::data
