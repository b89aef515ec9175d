#include "runtime/training/draw_counter.h"

#include <algorithm>

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

void DrawCounter::average(metrics::StepRecord& record) const {
  struct Mean {
    double sum = 0, count = 0;
    void add(double value) { sum += value, ++count; }
  };
  std::vector<Mean> categories(names_.size());
  std::array<Mean, metrics::kTimestepRanges> ranges;
  for (const metrics::DrawLoss& draw : record.draw_losses) {
    if (!of_example_.empty()) categories[of_example_[draw.example]].add(draw.loss);
    if (draw.timestep < 0) continue;
    const auto range = static_cast<size_t>(draw.timestep) * ranges.size() / metrics::kTimesteps;
    ranges[std::min(range, ranges.size() - 1)].add(draw.loss);
  }
  for (size_t i = 0; i < categories.size(); ++i) {
    if (categories[i].count > 0)
      record.category_losses[names_[i]] = categories[i].sum / categories[i].count;
  }
  for (size_t i = 0; i < ranges.size(); ++i) {
    if (ranges[i].count > 0) record.timestep_losses[i] = ranges[i].sum / ranges[i].count;
  }
}

}  // namespace kessoku::runtime
