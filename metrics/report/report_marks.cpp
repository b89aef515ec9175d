#include "metrics/report/report_marks.h"

#include <algorithm>

#include "metrics/account_book.h"

namespace kessoku::metrics {

namespace {

/// The first step that the log has of each process but the first.
std::vector<RunMark> restarts(const std::vector<AccountEntry>& entries,
                              const std::vector<StepRecord>& records) {
  std::vector<RunMark> marks;
  bool first = true;
  for (const AccountEntry& entry : entries) {
    if (entry.ended || std::exchange(first, false)) continue;
    const auto begun = [&](const StepRecord& record) { return record.time > entry.time; };
    const auto found = std::ranges::find_if(records, begun);
    // A process whose steps were all repeated has left none.
    if (found == records.end() || (!marks.empty() && marks.back().step == found->step)) continue;
    if (found->step > 1) marks.push_back({found->step, "restarted", false});
  }
  return marks;
}

}  // namespace

std::vector<RunMark> marks_of(const std::filesystem::path& run,
                              const std::vector<StepRecord>& records) {
  std::vector<RunMark> marks = restarts(read_account_book(run), records);
  for (const StepRecord& record : records) {
    if (record.changes.empty()) continue;
    std::string what;
    for (const RunChange& change : record.changes) what += (what.empty() ? "" : ", ") + change.key;
    marks.push_back({record.step, what + " changed", true});
  }
  std::ranges::stable_sort(marks, {}, &RunMark::step);
  return marks;
}

}  // namespace kessoku::metrics
