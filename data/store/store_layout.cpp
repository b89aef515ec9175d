#include "data/store/store_layout.h"

#include <fmt/format.h>

#include <cerrno>
#include <charconv>
#include <cstring>

#include "base/error.h"
#include "base/system_error.h"

namespace kessoku::data {

namespace {

/// HDF5's drivers put it only into the text of an error: "..., errno = 5, error message = ...".
herr_t find_errno(unsigned, const H5E_error2_t* error, void* found) {
  constexpr std::string_view kName = "errno = ";
  const std::string_view text = error->desc == nullptr ? "" : error->desc;
  const size_t at = text.find(kName);
  if (at != text.npos)
    std::from_chars(text.data() + at + kName.size(), text.data() + text.size(),
                    *static_cast<int*>(found));
  return 0;
}

}  // namespace

void throw_hdf5_read_error(const std::string& what) {
  int reason = 0;
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_DOWNWARD, find_errno, &reason);
  if (reason == 0 || reason == ENOENT) throw DataError(what);
  throw SystemError(fmt::format("{}: {}", what.substr(0, what.find(": ")), std::strerror(reason)));
}

Hdf5Id::Hdf5Id(hid_t id, herr_t (*close)(hid_t), const std::string& what) : id_(id), close_(close) {
  if (id < 0) throw_hdf5_read_error(what);
}

Hdf5Id& Hdf5Id::operator=(Hdf5Id&& other) noexcept {
  std::swap(id_, other.id_);
  std::swap(close_, other.close_);
  return *this;
}

Hdf5Id::~Hdf5Id() {
  if (id_ >= 0 && close_ != nullptr) close_(id_);
}

Hdf5Quiet::Hdf5Quiet() {
  H5dont_atexit();  // all is closed by its owner; after damaged files HDF5's own end can hang and
                    // complain
  H5Eget_auto2(H5E_DEFAULT, &function_, &data_);
  H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
}

Hdf5Quiet::~Hdf5Quiet() { H5Eset_auto2(H5E_DEFAULT, function_, data_); }

Hdf5Id file_access() {
  Hdf5Id access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose, "HDF5 has no access properties");
  H5Pset_file_locking(access, false, true);
  return access;
}

std::string ColumnsDigest::hex() const {
  Checksummer sum;
  for (const auto& [name, column] : columns_) {
    sum.add(name);
    sum.add(std::as_bytes(std::span(column)));
  }
  return to_hex(sum.value());
}

Hdf5Id element_type(Kind kind) {
  if (kind == Kind::kImages) return {H5Tcopy(H5T_STD_U8LE), H5Tclose, "HDF5 has no u8"};
  // HDF5 1.10 has no half type of its own: 1 sign, 5 exponent and 10 mantissa bits.
  Hdf5Id type(H5Tcopy(H5T_IEEE_F32LE), H5Tclose, "HDF5 has no f32");
  if (H5Tset_fields(type, 15, 10, 5, 0, 10) < 0 || H5Tset_size(type, 2) < 0 ||
      H5Tset_ebias(type, 15) < 0) {
    throw Error(ExitCode::kInternal, "HDF5 cannot make a half type");
  }
  return type;
}

uint64_t element_bytes(Kind kind) { return kind == Kind::kImages ? 1 : 2; }

std::string checksum_column(Kind kind, const std::vector<Kind>& kept) {
  return kind == std::ranges::max(kept) ? "row_checksum" : to_string(kind) + "_row_checksum";
}

Bucket parse_bucket(const std::string& text, const std::string& where) {
  Bucket bucket{};
  const char* end = text.data() + text.size();
  const auto width = std::from_chars(text.data(), end, bucket.width);
  const bool cross = width.ec == std::errc() && width.ptr != end && *width.ptr == 'x';
  constexpr int64_t kMost = 1 << 16;
  if (cross) {
    const auto height = std::from_chars(width.ptr + 1, end, bucket.height);
    if (height.ec == std::errc() && height.ptr == end && bucket.width > 0 && bucket.height > 0 &&
        bucket.width <= kMost && bucket.height <= kMost && to_string(bucket) == text) {
      return bucket;
    }
  }
  throw DataError(where + ": '" + text.substr(0, 40) + "' is not a bucket such as 512x512");
}

}  // namespace kessoku::data
