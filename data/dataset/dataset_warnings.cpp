#include "data/dataset/dataset_warnings.h"

#include <fmt/format.h>

namespace kessoku::data {

namespace {

constexpr size_t kPlaces = 3;
constexpr size_t kGroups = 100;

}  // namespace

void DatasetWarnings::add(const std::string& where, const std::string& what) {
  auto found = index_.find(what);
  if (found == index_.end()) {
    if (groups_.size() == kGroups) {
      ++others_;
      return;
    }
    found = index_.emplace(what, groups_.size()).first;
    groups_.push_back({.what = what});
  }
  Group& group = groups_[found->second];
  if (++group.count <= kPlaces) group.places.push_back(where);
}

std::vector<std::string> DatasetWarnings::list() const {
  std::vector<std::string> lines;
  for (const Group& group : groups_) {
    for (const std::string& place : group.places)
      lines.push_back(fmt::format("{}: {}", place, group.what));
    if (group.count > kPlaces)
      lines.push_back(fmt::format("and {} more: {}", group.count - kPlaces, group.what));
  }
  if (others_ > 0) lines.push_back(fmt::format("and {} more warnings of other kinds", others_));
  return lines;
}

}  // namespace kessoku::data
