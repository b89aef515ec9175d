#pragma once

#include <hdf5.h>

#include <map>
#include <string>
#include <utility>

#include "base/checksum.h"
#include "data/store/store.h"

namespace kessoku::data {

/// An HDF5 identifier that closes itself. Throws DataError with `what` if it is not valid.
class Hdf5Id {
 public:
  Hdf5Id() = default;
  Hdf5Id(hid_t id, herr_t (*close)(hid_t), const std::string& what);
  Hdf5Id(Hdf5Id&& other) noexcept : id_(std::exchange(other.id_, -1)), close_(other.close_) {}
  Hdf5Id& operator=(Hdf5Id&& other) noexcept;
  ~Hdf5Id();
  operator hid_t() const { return id_; }

 private:
  hid_t id_ = -1;
  herr_t (*close_)(hid_t) = nullptr;
};

/// While it lives, HDF5 does not print this thread's errors: they become exceptions.
class Hdf5Quiet {
 public:
  Hdf5Quiet();
  ~Hdf5Quiet();
  Hdf5Quiet(const Hdf5Quiet&) = delete;

 private:
  H5E_auto2_t function_ = nullptr;
  void* data_ = nullptr;
};

/// For a call of HDF5's on this thread that has just failed to read. Throws SystemError if the
/// system told HDF5 why, else DataError(what): then the file is damaged.
[[noreturn]] void throw_hdf5_read_error(const std::string& what);

/// Access properties for H5Fopen and H5Fcreate: without HDF5's own file locks, which file systems
/// of clusters may lack. A store's files never change once the manifest names them.
Hdf5Id file_access();

/// Name of the attribute of a shard's root group that holds kStoreVersion.
inline constexpr char kVersionAttribute[] = "kessoku_store_version";

/// XXH3 over a bucket's columns: rows carry their own checksums, a changed caption would go
/// unnoticed. The columns may come in any order.
class ColumnsDigest {
 public:
  void add(const std::string& name, std::span<const std::byte> bytes) {
    add(name, bytes.size(), checksum(bytes));
  }
  void add(const std::string& name, uint64_t bytes, uint64_t checksum) {
    columns_[name] = {bytes, checksum};
  }
  std::string hex() const;

 private:
  std::map<std::string, std::array<uint64_t, 2>> columns_;
};

/// HDF5's type for a kind's elements: IEEE half, little endian, or u8.
Hdf5Id element_type(Kind kind);
uint64_t element_bytes(Kind kind);

/// Name of the column with the XXH3 of each row and variant of `kind`. Of the kinds that a store
/// keeps the most derived one's (moments, latents, images) is `row_checksum`; others' carry their
/// kind's name.
std::string checksum_column(Kind kind, const std::vector<Kind>& kept);

/// "WxH" of a bucket. Throws DataError with `where` if it is none.
Bucket parse_bucket(const std::string& text, const std::string& where);

}  // namespace kessoku::data
