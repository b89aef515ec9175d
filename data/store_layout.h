#pragma once

#include <hdf5.h>

#include <string>
#include <utility>

#include "base/checksum.h"
#include "data/store_writer.h"

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

/// XXH3 over a bucket's columns: rows carry their own checksums, a changed caption would go
/// unnoticed.
class ColumnsDigest {
 public:
  void add_row(const RowInfo& row);
  void add_checksums(const std::vector<uint64_t>& checksums);
  std::string hex() const;

 private:
  Checksummer sum_;
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
