#pragma once

namespace kessoku {

/// fsync of an open file or folder. False, with errno, if it fails; true also on file systems that
/// have no such thing (some network and FUSE ones refuse it, most often for folders): there is
/// nothing to be lost by going on.
bool flush_to_disk(int descriptor);

}  // namespace kessoku
