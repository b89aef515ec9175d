#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "base/error.h"

namespace kessoku {

/// The machine failed, which says nothing about a file: a disk or network file system that does not
/// answer, or memory, descriptors, threads or rights that are missing (exit code 74). Whoever
/// passes over damaged files must not pass over this.
class SystemError : public Error {
 public:
  explicit SystemError(const std::string& message) : Error(ExitCode::kCannotWrite, message) {}
};

/// Throws SystemError "PATH: cannot WHAT: the system's reason", which it takes from errno.
[[noreturn]] void throw_system(const char* what, const std::filesystem::path& path);

/// For a file that cannot be opened, by errno. Throws UsageError if there is none, DataError if the
/// path is at fault (a link to itself, a name too long), else SystemError.
[[noreturn]] void throw_cannot_open(const std::filesystem::path& path);

/// Whether an exception, or a reason, of whatever library tells that memory, threads or a device
/// failed.
bool is_machine_failure(const std::exception& error);
bool is_machine_failure(std::string_view reason);
/// Whether a reason tells of memory, or of threads that could not be started.
bool is_out_of_memory(std::string_view reason);
bool is_out_of_threads(std::string_view reason);

}  // namespace kessoku
