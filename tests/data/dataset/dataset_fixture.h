// A dataset that a test writes file by file.
#pragma once

#include <gmock/gmock.h>

#include "base/error.h"
#include "data/dataset/dataset.h"
#include "tests/data/python.h"
#include "tests/temporary_folder.h"

namespace kessoku::data {

class DatasetTest : public ::testing::Test {
 protected:
  explicit DatasetTest(Dialect dialect) : options_{.dialect = dialect} {}

  std::filesystem::path root() const { return folder_.path() / "set"; }
  void put(const std::string& path, const std::string& text = "x") {
    write_text(root() / path, text);
  }
  Dataset scan() const { return scan_dataset(root(), options_); }
  Dataset scan_file(const std::string& file) const { return scan_dataset(root() / file, options_); }

  static const Example& find(const Dataset& dataset, const std::string& source) {
    for (const Example& example : dataset.examples) {
      if (example.source == source) return example;
    }
    throw std::out_of_range(source);
  }
  std::string caption(const std::string& source) const { return find(scan(), source).caption; }
  Settings settings(const std::string& source) const {
    const Dataset dataset = scan();
    return dataset.settings.at(find(dataset, source).settings);
  }
  std::vector<std::string> sources() const {
    std::vector<std::string> result;
    for (const Example& example : scan().examples) result.push_back(example.source);
    return result;
  }
  std::vector<std::string> all_warnings() const { return scan().warnings; }
  /// All but the count of images without a caption, which most tests do not care to write.
  std::vector<std::string> warnings() const {
    std::vector<std::string> lines = all_warnings();
    std::erase_if(lines, [](const std::string& line) {
      return line.starts_with("images without a caption: ");
    });
    return lines;
  }

  /// The scan must fail for damaged data, saying all of `says`.
  void expect_refused(const std::vector<std::string>& says, const std::string& file = "") const {
    try {
      scan_dataset(file.empty() ? root() : root() / file, options_);
      ADD_FAILURE() << "not refused; expected: " << ::testing::PrintToString(says);
    } catch (const DataError& error) {
      for (const std::string& part : says) EXPECT_THAT(error.what(), ::testing::HasSubstr(part));
    }
  }

  DatasetOptions options_;
  tests::TemporaryFolder folder_;
};

}  // namespace kessoku::data
