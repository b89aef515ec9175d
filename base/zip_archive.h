#pragma once

#include <map>
#include <string>
#include <string_view>

#include "base/file.h"

namespace kessoku {

/// A file in a ZIP archive: bytes [begin, end) of the archive, stored as they are.
struct ZipMember {
  size_t begin = 0, end = 0;
  uint32_t crc32 = 0;  ///< 0 where the writer computed none
};

/// The members of a ZIP archive by name. Only what PyTorch and NumPy write is taken: one part,
/// uncompressed, not encrypted, ZIP64 or not. The names point into `file`. Throws DataError naming
/// file and member for anything else, for members that overlap, that are there twice or that reach
/// beyond the file.
std::map<std::string_view, ZipMember> read_zip_directory(const MappedFile& file);

}  // namespace kessoku
