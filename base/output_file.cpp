#include "base/output_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "base/descriptor.h"
#include "base/system_error.h"

namespace kessoku {

namespace {

constexpr size_t kPiece = size_t{4} << 20;  // summed while it is still in the processor's cache
constexpr uint64_t kWindow = uint64_t{16} << 20;

}  // namespace

OutputFile::OutputFile(const std::filesystem::path& path, uint64_t begin)
    : path_(path),
      descriptor_(::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644)),
      begin_(begin),
      end_(begin),
      sent_(begin) {
  if (descriptor_ < 0) throw_system("create", path_);
}

OutputFile::~OutputFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void OutputFile::write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const auto piece = bytes.first(std::min(bytes.size(), kPiece));
    if (write_all_at(descriptor_, end_, piece) < piece.size()) throw_system("write", path_);
    sum_.add(piece);
    bytes = bytes.subspan(piece.size());
    end_ += piece.size();
    if (end_ - sent_ < kWindow) continue;
    // Only a hint: what it meets is told by the flush at the end.
    ::sync_file_range(descriptor_, static_cast<off_t>(sent_), static_cast<off_t>(end_ - sent_),
                      SYNC_FILE_RANGE_WRITE);
    sent_ = end_;
  }
}

void OutputFile::finish() {
  if (!flush_to_disk(descriptor_)) throw_system("flush to disk", path_);
  // Some network file systems tell only here that the disk is full.
  if (::close(std::exchange(descriptor_, -1)) != 0) throw_system("close", path_);
}

}  // namespace kessoku
