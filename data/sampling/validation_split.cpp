#include "data/sampling/validation_split.h"

#include <optional>

#include "base/error.h"
#include "base/random.h"

namespace kessoku::data {

std::vector<bool> hold_out(const Store& store, double fraction) {
  if (!(fraction >= 0 && fraction < 1)) {
    throw UsageError(fmt::format(
        "validation.fraction = {}: must be at least 0 and below 1, or nothing is left to train on",
        fraction));
  }
  if (fraction == 0) return {};
  std::vector<bool> held(store.size(), false);
  struct Highest {
    uint32_t example;
    double value;
  };
  std::vector<std::optional<Highest>> highest(store.manifest().categories.size());
  const std::vector<uint64_t> contents = store.content_hashes();
  for (uint32_t i = 0; i < store.size(); ++i) {
    const Row& row = store.rows()[i];
    const double value = RandomStream(0, Purpose::kValidation, contents[i]).uniform();
    held[i] = value < fraction;
    if (!(store.manifest().settings[row.settings].multiply > 0)) continue;
    std::optional<Highest>& in_folder = highest[row.category];
    if (!in_folder || value > in_folder->value) in_folder = {i, value};
  }
  for (const auto& in_folder : highest) {
    if (in_folder) held[in_folder->example] = false;
  }
  return held;
}

}  // namespace kessoku::data
