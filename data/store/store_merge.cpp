#include "data/store/store_merge.h"

#include <fmt/format.h>

#include <numeric>

#include "base/error.h"

namespace kessoku::data {

namespace {

/// A group's rows in the order of their sources.
class Run {
 public:
  explicit Run(const MergedGroup& group) : group_(group), blob_(texts().bytes.all<char>()) {
    bool sorted = true;  // kessoku writes them so
    for (uint64_t i = 1; i < group.columns->rows && sorted; ++i) sorted = source(i - 1) < source(i);
    if (sorted) return;
    order_.resize(group.columns->rows);
    std::iota(order_.begin(), order_.end(), uint64_t{0});
    std::ranges::sort(order_, {}, [this](uint64_t row) { return source(row); });
  }

  bool done() const { return next_ == group_.columns->rows; }
  std::string_view current() const { return source(row()); }
  Row take() {
    const uint64_t r = row();
    ++next_;
    return {group_.shard, group_.bucket, r, group_.columns->category[r],
            group_.columns->settings[r]};
  }
  const std::string& shard_name() const { return *group_.shard_name; }

 private:
  const TextColumn& texts() const { return group_.columns->sources; }
  uint64_t row() const { return order_.empty() ? next_ : order_[next_]; }
  std::string_view source(uint64_t row) const {
    const auto& offsets = texts().offsets;
    return {blob_.data() + offsets[row], offsets[row + 1] - offsets[row]};
  }

  MergedGroup group_;
  std::vector<char> blob_;
  std::vector<uint64_t> order_;
  uint64_t next_ = 0;
};

/// Restores the heap (least source first) after its root has grown.
void sift_down(std::vector<Run*>& heap) {
  for (size_t at = 0;;) {
    size_t least = 2 * at + 1;
    if (least >= heap.size()) return;
    if (least + 1 < heap.size() && heap[least + 1]->current() < heap[least]->current()) ++least;
    if (heap[at]->current() <= heap[least]->current()) return;
    std::swap(heap[at], heap[least]);
    at = least;
  }
}

}  // namespace

std::vector<Row> merge_by_source(const std::vector<MergedGroup>& groups) {
  std::vector<std::unique_ptr<Run>> runs;
  std::vector<Run*> heap;
  uint64_t size = 0;
  for (const MergedGroup& group : groups) {
    size += group.columns->rows;
    runs.push_back(std::make_unique<Run>(group));
    if (!runs.back()->done()) heap.push_back(runs.back().get());
  }
  std::ranges::sort(heap, {}, &Run::current);  // a sorted list is a heap
  std::vector<Row> rows;
  rows.reserve(size);
  std::string_view last;
  while (!heap.empty()) {
    Run& run = *heap.front();
    if (!rows.empty() && run.current() == last)
      throw DataError(fmt::format("{}: {} is in the store twice; prepare the store again",
                                  run.shard_name(), last));
    last = run.current();
    rows.push_back(run.take());
    if (run.done()) {
      heap.front() = heap.back();
      heap.pop_back();
    }
    sift_down(heap);
  }
  return rows;
}

}  // namespace kessoku::data
