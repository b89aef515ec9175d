#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace kessoku {

/// write(2) until all bytes are written, through interruptions and partial writes. Returns how many
/// were: fewer than there are only if the system refused more, and errno says why.
size_t write_all(int descriptor, std::string_view bytes);

/// The same with pwrite(2), from byte `at` of the file on.
size_t write_all_at(int descriptor, uint64_t at, std::span<const std::byte> bytes);

/// fsync of an open file or folder. False, with errno, if it fails; true also on file systems that
/// have no such thing (some network and FUSE ones refuse it, most often for folders): there is
/// nothing to be lost by going on.
bool flush_to_disk(int descriptor);

}  // namespace kessoku
