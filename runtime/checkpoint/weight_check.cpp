#include "runtime/checkpoint/weight_check.h"

#include <cmath>

#include "model/weights/narrowing.h"

namespace kessoku::runtime {

namespace {

void note(const std::string& name, double value, at::ScalarType dtype, WeightProblems& problems) {
  if (model::fits(value, dtype)) return;
  std::string& problem = std::isfinite(value) ? problems.too_large : problems.not_finite;
  if (problem.empty()) problem = fmt::format("{} {}", name, model::explain_misfit(value, dtype));
}

/// `values` are those of `range` of the flat layout.
void check_range(const at::Tensor& values, const Range& range, const FlatParameters& flat,
                 at::ScalarType dtype, WeightProblems& problems) {
  if (model::fits(model::largest_value(values), dtype)) return;
  for (const FlatRange& place : flat.ranges()) {
    const int64_t begin = std::max(range.begin, place.offset);
    const int64_t end = std::min(range.end, place.offset + place.numel);
    if (begin >= end) continue;
    note(place.name, model::largest_value(values.narrow(0, begin - range.begin, end - begin)),
         dtype, problems);
  }
}

/// The first rank's that has one.
std::string first_of(const std::string& own, Communicator& communicator) {
  for (const std::string& text : communicator.all_gather_text(own)) {
    if (!text.empty()) return text;
  }
  return {};
}

}  // namespace

WeightProblems check_weights(Trainer& trainer, at::ScalarType dtype, Communicator& communicator) {
  WeightProblems problems;
  const TrainerState state = trainer.state();
  const std::vector<Range> ranges = trainer.written_ranges();
  int64_t offset = 0;  // of a range among those that this rank owns
  for (size_t i = 0; i < ranges.size(); ++i) {
    // Without sharding a rank owns more than it writes.
    const int64_t skipped = ranges[i].begin - state.owned[i].begin, size = ranges[i].size();
    check_range(state.weights[i].narrow(0, skipped, size), ranges[i], trainer.flat(), dtype,
                problems);
    if (state.ema.defined()) {
      check_range(state.ema.narrow(0, offset + skipped, size), ranges[i], trainer.flat(), dtype,
                  problems);
    }
    offset += state.owned[i].size();
  }
  return {first_of(problems.not_finite, communicator), first_of(problems.too_large, communicator)};
}

WeightProblems check_weights(const model::Parameters& parameters, at::ScalarType dtype) {
  WeightProblems problems;
  for (const auto& [name, tensor] : parameters)
    note(name, model::largest_value(tensor), dtype, problems);
  return problems;
}

}  // namespace kessoku::runtime
