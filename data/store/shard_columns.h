#pragma once

#include "data/store/shard_writer.h"
#include "data/store/store_layout.h"

namespace kessoku::data {

/// Row checksums of a bucket by kind, (rows, variants).
using RowChecksums = std::map<Kind, std::vector<uint64_t>>;

/// Writes a bucket's columns into its group of an open file, and returns their digest as hex.
/// Throws Error (kCannotWrite) naming `where`.
std::string write_columns(hid_t group, const std::vector<RowInfo>& rows,
                          const RowChecksums& checksums, const std::vector<Kind>& kept,
                          int64_t variants, const std::string& where);

/// An HDF5 file created anew, with the store's version. Throws Error (kCannotWrite) naming it.
Hdf5Id create_shard_file(const std::filesystem::path& path);

/// A group created in it.
Hdf5Id create_group(hid_t file, const Bucket& bucket, const std::string& where);

/// Error of a call to libhdf5 that writes.
[[noreturn]] void throw_hdf5_write_error(const std::string& where);

}  // namespace kessoku::data
