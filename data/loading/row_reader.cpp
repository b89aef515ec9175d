#include "data/loading/row_reader.h"

#include "base/error.h"

namespace kessoku::data {

RowReader::RowReader(const Store& store, std::vector<Kind> kinds, Substitutes substitutes,
                     OnBadRow on_bad_row)
    : store_(store),
      kinds_(std::move(kinds)),
      substitutes_(std::move(substitutes)),
      on_bad_row_(std::move(on_bad_row)) {}

bool RowReader::try_read(uint32_t example, int64_t variant,
                         const std::vector<at::Tensor>& rows) const {
  {
    const std::lock_guard lock(mutex_);
    if (bad_.contains(example)) return false;
  }
  try {
    for (size_t i = 0; i < kinds_.size(); ++i) store_.read(example, kinds_[i], variant, rows[i]);
    return true;
  } catch (const DataError& error) {
    if (!on_bad_row_) {
      throw DataError(fmt::format(
          "{} (data.on_bad_row = \"skip\" would continue without the image)", error.what()));
    }
    const std::lock_guard lock(mutex_);
    if (bad_.insert(example).second) on_bad_row_(error.what());
    return false;
  }
}

void RowReader::read(Draw& draw, int64_t variant, const std::vector<at::Tensor>& rows) const {
  if (try_read(draw.example, variant, rows)) return;
  const std::string source = store_.source(draw.example);
  for (const uint32_t substitute : substitutes_(draw)) {
    draw.example = substitute;
    if (try_read(substitute, variant, rows)) return;
  }
  throw DataError(fmt::format(
      "{}: its row is damaged, and so are those of all images that could be drawn in its place; "
      "prepare the store again",
      source));
}

}  // namespace kessoku::data
