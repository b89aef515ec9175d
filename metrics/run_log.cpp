#include "metrics/run_log.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <span>
#include <utility>

#include "base/descriptor.h"
#include "base/error.h"
#include "base/log.h"
#include "base/random_access_file.h"
#include "base/system_error.h"

namespace kessoku::metrics {

namespace {

struct Line {
  StepRecord record;
  uint64_t begin, end;  ///< in the file; the newline counts
  bool closed;          ///< ends with a newline
};

/// The lines of a file, the last one first. What is read is only what is asked for.
class BackwardLines {
 public:
  explicit BackwardLines(const std::filesystem::path& path)
      : file_(path, RandomAccessFile::Mode::kRead), begin_(file_.size()) {}

  /// The next line with its newline, which stays until the next call; empty before the first line.
  std::string_view next() {
    text_.resize(at_);
    while (true) {
      const size_t newline =
          text_.size() < 2 ? std::string::npos : text_.rfind('\n', text_.size() - 2);
      at_ = newline == std::string::npos ? 0 : newline + 1;
      if (at_ > 0 || begin_ == 0) return std::string_view(text_).substr(at_);
      prepend();
    }
  }
  /// Where that line begins in the file.
  uint64_t begin() const { return begin_ + at_; }

 private:
  void prepend() {
    constexpr uint64_t kPiece = 1 << 16;
    std::string piece(std::min(kPiece, begin_), '\0');
    begin_ -= piece.size();
    file_.read(begin_, std::as_writable_bytes(std::span(piece)));
    text_.insert(0, piece);
  }

  RandomAccessFile file_;
  uint64_t begin_;    // of text_ in the file
  std::string text_;  // all of it before what was asked for
  size_t at_ = 0;     // of the line in text_
};

uint64_t line_number(const std::filesystem::path& path, uint64_t at) {
  const RandomAccessFile file(path, RandomAccessFile::Mode::kRead);
  std::string text(at, '\0');
  file.read(0, std::as_writable_bytes(std::span(text)));
  return static_cast<uint64_t>(std::ranges::count(text, '\n')) + 1;
}

/// Calls `visit` for each line, the last one first, until it returns false. A last line that is no
/// record was torn by a crash and is left out; one that lacks only its newline counts.
template <typename Visit>
void visit_lines_backwards(const std::filesystem::path& path, Visit visit) {
  if (!std::filesystem::exists(path))
    throw UsageError(fmt::format("{}: there is no such file", path.string()));
  BackwardLines lines(path);
  bool last = true;
  for (std::string_view text = lines.next(); !text.empty(); text = lines.next(), last = false) {
    const uint64_t end = lines.begin() + text.size();
    const bool closed = text.ends_with('\n');
    if (closed) text.remove_suffix(1);
    StepRecord record;
    try {
      record = step_record_from_json(text);
    } catch (const DataError& error) {
      if (last) continue;
      throw DataError(fmt::format("{}:{}: {}; remove the line, or move the file away",
                                  path.string(), line_number(path, lines.begin()), error.what()));
    }
    if (!visit(Line{std::move(record), lines.begin(), end, closed})) return;
  }
}

}  // namespace

RunLog::RunLog(const std::filesystem::path& path, uint64_t last_step) : path_(path) {
  uint64_t keep = 0;
  bool closed = true;
  if (std::filesystem::exists(path)) {
    visit_lines_backwards(path, [&](const Line& line) {
      if (line.record.step > last_step) return true;
      keep = line.end;
      closed = line.closed;
      return false;
    });
    std::filesystem::resize_file(path, keep);
  }
  file_ = ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (file_ < 0) throw_system("open", path);
  if (!closed) pending_ = "\n";
}

RunLog::~RunLog() {
  write_pending();
  ::close(file_);
}

void RunLog::append(const StepRecord& record) {
  pending_ += to_json(record) + '\n';
  write_pending();
}

void RunLog::reopen_if_removed() {
  struct stat status {};
  if (::fstat(file_, &status) == 0 && status.st_nlink > 0) return;
  const int file = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (file < 0) return;
  ::close(std::exchange(file_, file));
  log_warning("{} was removed; it is created again", path_.string());
}

void RunLog::write_pending() {
  reopen_if_removed();
  pending_.erase(0, write_all(file_, pending_));
  const bool refused = !pending_.empty();
  if (refused && !warned_) {
    log_warning("{}: cannot write: {}; the records wait in memory until it can be written",
                path_.string(), std::strerror(errno));
  }
  warned_ = refused;
}

std::vector<StepRecord> read_run_log(const std::filesystem::path& path) {
  return read_newest_records(path, [](const StepRecord&) { return true; });
}

std::vector<StepRecord> read_newest_records(const std::filesystem::path& path,
                                            const std::function<bool(const StepRecord&)>& wanted) {
  std::vector<StepRecord> records;
  visit_lines_backwards(path, [&](Line line) {
    if (!wanted(line.record)) return false;
    records.push_back(std::move(line.record));
    return true;
  });
  std::ranges::reverse(records);
  return records;
}

uint64_t offset_of_newest_records(const std::filesystem::path& path,
                                  const std::function<bool(const StepRecord&)>& wanted) {
  std::optional<uint64_t> offset;
  visit_lines_backwards(path, [&](const Line& line) {
    if (!offset) offset = line.end;
    if (!wanted(line.record)) return false;
    offset = line.begin;
    return true;
  });
  return offset.value_or(0);
}

std::optional<StepRecord> last_record(const std::filesystem::path& path) {
  std::optional<StepRecord> record;
  visit_lines_backwards(path, [&](Line line) {
    record = std::move(line.record);
    return false;
  });
  return record;
}

}  // namespace kessoku::metrics
