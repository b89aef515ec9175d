#pragma once

#include <stdexcept>
#include <string>
#include <vector>

#include "base/exit_code.h"

namespace kessoku {

/// An error that a person can act upon: says what was wrong, where (file, line, key, tensor) and
/// what to do. The launcher prints it as one line and ends the process with `exit_code()`.
class Error : public std::runtime_error {
 public:
  Error(ExitCode code, const std::string& message);
  ExitCode exit_code() const { return code_; }

 private:
  ExitCode code_;
};

/// The command line or the run file is wrong (exit code 64).
class UsageError : public Error {
 public:
  explicit UsageError(const std::string& message) : Error(ExitCode::kUsage, message) {}
};

/// An input file is damaged, hostile or does not fit (exit code 65).
class DataError : public Error {
 public:
  explicit DataError(const std::string& message) : Error(ExitCode::kBadData, message) {}
};

/// The nearest of `candidates` to `word` by edit distance, for "did you mean"; empty if none is
/// near.
std::string nearest_word(const std::string& word, const std::vector<std::string>& candidates);

}  // namespace kessoku
