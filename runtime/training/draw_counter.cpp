#include "runtime/training/draw_counter.h"

namespace kessoku::runtime {

DrawCounter::DrawCounter(const std::vector<data::Category>& categories,
                         const std::vector<data::Row>& rows) {
  std::map<std::string, uint32_t> index;
  std::vector<uint32_t> of_category;
  for (const data::Category& category : categories) {
    const std::string top = category.path.substr(0, category.path.find('/'));
    const auto [found, added] = index.emplace(top, static_cast<uint32_t>(names_.size()));
    if (added) names_.push_back(top);
    of_category.push_back(found->second);
  }
  for (const data::Row& row : rows) of_example_.push_back(of_category.at(row.category));
}

void DrawCounter::add(const std::vector<data::Draw>& draws, int64_t* counts) const {
  if (of_example_.empty()) return;
  for (const data::Draw& draw : draws) counts[of_example_[draw.example]] += 1;
}

std::map<std::string, uint64_t> DrawCounter::named(const int64_t* counts) const {
  std::map<std::string, uint64_t> result;
  for (size_t i = 0; i < names_.size(); ++i) {
    if (counts[i] > 0) result[names_[i]] = static_cast<uint64_t>(counts[i]);
  }
  return result;
}

}  // namespace kessoku::runtime
