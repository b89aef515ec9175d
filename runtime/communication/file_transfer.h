#pragma once

#include <filesystem>

#include "runtime/communication/communicator.h"

namespace kessoku::runtime {

/// Sends the file `path` of rank `root` to all; with `target` this rank writes it. Throws when all
/// of it was sent, if it could not be written. Collective.
void broadcast_file(const std::filesystem::path& path, int root, bool target,
                    Communicator& communicator);

/// Sends the file `sent` to the rank `distance` ranks on and writes what the rank as far back sends
/// to `received`. Throws when all was sent, if either could not be done. Collective.
void shift_file(const std::filesystem::path& sent, const std::filesystem::path& received,
                int distance, Communicator& communicator);

}  // namespace kessoku::runtime
