#pragma once

#include <gtest/gtest.h>

#include <cstdlib>

#include "base/file.h"
#include "tests/paths.h"

namespace kessoku::data {

/// Runs a script of tests/data (or, with -c, a line of Python) under the oracles' Python; fails the
/// test if that fails.
inline void run_python(const std::string& script, const std::string& arguments) {
  const std::string command = fmt::format("'{}' '{}/tests/data/{}' {}", tests::python(),
                                          tests::source_folder(), script, arguments);
  ASSERT_EQ(std::system(command.c_str()), 0) << command << "\nHas scripts/setup.sh been run?";
}

inline void run_python_line(const std::string& line) {
  const std::string command = fmt::format("'{}' -c \"{}\"", tests::python(), line);
  ASSERT_EQ(std::system(command.c_str()), 0) << command << "\nHas scripts/setup.sh been run?";
}

inline void write_text(const std::filesystem::path& path, const std::string& text) {
  std::filesystem::create_directories(path.parent_path());
  write_file_atomically(path, text);
}

}  // namespace kessoku::data
