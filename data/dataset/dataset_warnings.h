#pragma once

#include <map>
#include <string>
#include <vector>

namespace kessoku::data {

/// Warnings about the files of a dataset, bounded in number however many files there are: of those
/// that say the same, the first few and a count.
class DatasetWarnings {
 public:
  /// `where` is a file or folder; `what` says what is wrong and what was done.
  void add(const std::string& where, const std::string& what);
  /// "WHERE: WHAT", in the order of their first appearance.
  std::vector<std::string> list() const;

 private:
  struct Group {
    std::string what;
    std::vector<std::string> places;
    size_t count = 0;
  };
  std::map<std::string, size_t> index_;  ///< by `what`
  std::vector<Group> groups_;
  size_t others_ = 0;  ///< beyond the groups
};

}  // namespace kessoku::data
