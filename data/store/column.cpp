#include "data/store/column.h"

#include <cstring>

namespace kessoku::data {

void Column::hold() {
  if (file_ != nullptr) *this = Column(all<std::byte>());
}

void Column::read(uint64_t at, std::span<std::byte> out) const {
  if (at > bytes_ || out.size() > bytes_ - at)
    throw std::logic_error("Column: read beyond its end");
  if (out.empty()) return;
  if (file_ != nullptr) {
    file_->read(offset_ + at, out);
  } else {
    std::memcpy(out.data(), values_->data() + at, out.size());
  }
}

std::string TextColumn::at(uint64_t row) const {
  std::string text(offsets.at(row + 1) - offsets[row], '\0');
  bytes.read(offsets[row], std::as_writable_bytes(std::span(text)));
  return text;
}

}  // namespace kessoku::data
