#include "data/shard_schema.h"

#include <fmt/format.h>

#include "base/error.h"

namespace kessoku::data {

namespace {

/// What deflate can unpack a byte to at most, and a little more.
constexpr uint64_t kMostExpansion = 1100;

uint64_t multiply(uint64_t a, uint64_t b, const std::string& where) {
  uint64_t product = 0;
  if (__builtin_mul_overflow(a, b, &product)) throw DataError(where + ": impossible size");
  return product;
}

void expect(bool holds, const std::string& where, const char* what) {
  if (!holds) throw DataError(fmt::format("{}: {}", where, what));
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

template <typename T>
std::vector<T> read_column(hid_t group, const std::string& name, hid_t memory_type,
                           const std::vector<uint64_t>& dims, const std::string& where,
                           uint64_t file_bytes) {
  const CheckedDataset dataset = open_dataset(group, name, where, file_bytes);
  expect(dims.empty() ? dataset.dims.size() == 1 : dataset.dims == dims, dataset.where,
         "not of the expected shape");
  const Hdf5Id type(H5Dget_type(dataset.id), H5Tclose, dataset.where);
  expect(H5Tget_class(type) == H5T_INTEGER && H5Tget_size(type) == sizeof(T), dataset.where,
         "not of the expected type");
  std::vector<T> values(dataset.bytes / sizeof(T));
  if (!values.empty()) {
    expect(H5Dread(dataset.id, memory_type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()) >= 0,
           dataset.where, "cannot be read");
  }
  return values;
}

std::vector<std::string> read_texts(hid_t group, const std::string& name, uint64_t rows,
                                    const std::string& where, uint64_t file_bytes) {
  const auto bytes =
      read_column<char>(group, name + "_bytes", H5T_NATIVE_UINT8, {}, where, file_bytes);
  const auto offsets = read_column<uint64_t>(group, name + "_offsets", H5T_NATIVE_UINT64,
                                             {rows + 1}, where, file_bytes);
  const std::string at = where + "/" + name + "_offsets";
  expect(offsets.front() == 0 && offsets.back() == bytes.size() && std::ranges::is_sorted(offsets),
         at, "do not fit the text");
  std::vector<std::string> texts(rows);
  for (uint64_t i = 0; i < rows; ++i)
    texts[i].assign(bytes.data() + offsets[i], bytes.data() + offsets[i + 1]);
  return texts;
}

std::vector<Provenance> read_provenance(hid_t group, uint64_t rows, const std::string& where,
                                        uint64_t file_bytes) {
  const auto size =
      read_column<uint32_t>(group, "source_size", H5T_NATIVE_UINT32, {rows, 2}, where, file_bytes);
  const auto crop =
      read_column<int32_t>(group, "crop", H5T_NATIVE_INT32, {rows, 4}, where, file_bytes);
  const auto hash =
      read_column<uint64_t>(group, "content_hash", H5T_NATIVE_UINT64, {rows}, where, file_bytes);
  std::vector<Provenance> result(rows);
  for (uint64_t i = 0; i < rows; ++i) {
    result[i] = {size[2 * i], size[2 * i + 1], {}, hash[i]};
    std::copy_n(crop.begin() + static_cast<int64_t>(4 * i), 4, result[i].crop.begin());
  }
  return result;
}

Payload read_payload(hid_t group, Kind kind, const Bucket& bucket, uint64_t rows,
                     const std::string& column, const std::string& where, uint64_t file_bytes) {
  const CheckedDataset dataset = open_dataset(group, to_string(kind), where, file_bytes);
  const Hdf5Id type(H5Dget_type(dataset.id), H5Tclose, dataset.where);
  expect(H5Tequal(type, element_type(kind)) > 0, dataset.where, "not of the expected type");
  expect(dataset.dims.size() == 5 && dataset.dims[0] == rows && dataset.dims[1] > 0, dataset.where,
         "not of the expected shape");
  Payload payload{.rows = rows, .variants = static_cast<int64_t>(dataset.dims[1])};
  payload.row_bytes = dataset.bytes / rows / dataset.dims[1];
  payload.shape.assign(dataset.dims.begin() + 2, dataset.dims.end());
  const auto& shape = payload.shape;
  expect(std::ranges::all_of(shape, [](int64_t side) { return side > 0 && side < 1 << 20; }),
         dataset.where, "not of the expected shape");
  expect(kind == Kind::kImages ? shape == std::vector<int64_t>{3, bucket.height, bucket.width}
                               : shape[2] * bucket.height == shape[1] * bucket.width,
         dataset.where, "not of the bucket's shape");
  payload.offset = dataset.offset;
  payload.checksums = read_column<uint64_t>(group, column, H5T_NATIVE_UINT64,
                                            {rows, dataset.dims[1]}, where, file_bytes);
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

BucketColumns read_bucket(hid_t file, const std::string& bucket, uint64_t rows,
                          const StoreManifest& manifest, const std::string& shard,
                          uint64_t file_bytes) {
  const std::string where = shard + ":/" + bucket;
  H5L_info_t link;
  expect(H5Lget_info(file, bucket.c_str(), &link, H5P_DEFAULT) >= 0, where, "missing");
  expect(link.type == H5L_TYPE_HARD, where, "a link to elsewhere, refused");
  const Hdf5Id group(H5Gopen2(file, bucket.c_str(), H5P_DEFAULT), H5Gclose,
                     where + ": cannot be opened");
  BucketColumns columns;
  columns.category =
      read_column<uint32_t>(group, "category", H5T_NATIVE_UINT32, {rows}, where, file_bytes);
  expect(std::ranges::all_of(columns.category,
                             [&](uint32_t c) { return c < manifest.categories.size(); }),
         where + "/category", "names a category that store.json does not list");
  columns.settings =
      read_column<uint32_t>(group, "settings", H5T_NATIVE_UINT32, {rows}, where, file_bytes);
  expect(std::ranges::all_of(columns.settings,
                             [&](uint32_t s) { return s < manifest.settings.size(); }),
         where + "/settings", "names settings that store.json does not list");
  columns.captions = read_texts(group, "caption", rows, where, file_bytes);
  columns.caption_parts = read_texts(group, "caption_parts", rows, where, file_bytes);
  columns.sources = read_texts(group, "source", rows, where, file_bytes);
  columns.provenance = read_provenance(group, rows, where, file_bytes);
  const Bucket size = parse_bucket(bucket, where);
  for (const Kind kind : manifest.kept) {
    columns.payloads[kind] = read_payload(group, kind, size, rows,
                                          checksum_column(kind, manifest.kept), where, file_bytes);
  }
  return columns;
}

}  // namespace kessoku::data
