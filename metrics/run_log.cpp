#include "metrics/run_log.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>

#include "base/descriptor.h"
#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "base/system_error.h"

namespace kessoku::metrics {

namespace {

struct Line {
  StepRecord record;
  uint64_t end;  ///< offset of the first byte after it in the file
  bool closed;   ///< ends with a newline
};

/// Calls `visit` for each line until it returns false. A last line that is no record was torn by a
/// crash and is left out; one that lacks only its newline counts.
template <typename Visit>
void visit_lines(const std::filesystem::path& path, Visit visit) {
  const MappedFile file(path);
  const std::string_view text(reinterpret_cast<const char*>(file.bytes().data()),
                              file.bytes().size());
  uint64_t number = 0;
  for (size_t begin = 0; begin < text.size();) {
    const size_t newline = text.find('\n', begin);
    const bool closed = newline != std::string_view::npos;
    const size_t end = closed ? newline + 1 : text.size();
    ++number;
    StepRecord record;
    try {
      record = step_record_from_json(text.substr(begin, (closed ? newline : end) - begin));
    } catch (const DataError& error) {
      if (end == text.size()) return;
      throw DataError(fmt::format("{}:{}: {}; remove the line, or move the file away",
                                  path.string(), number, error.what()));
    }
    if (!visit(Line{std::move(record), end, closed})) return;
    begin = end;
  }
}

}  // namespace

RunLog::RunLog(const std::filesystem::path& path, uint64_t last_step) : path_(path) {
  uint64_t keep = 0;
  bool closed = true;
  if (std::filesystem::exists(path)) {
    visit_lines(path, [&](const Line& line) {
      if (line.record.step > last_step) return false;
      keep = line.end;
      closed = line.closed;
      return true;
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
  std::vector<StepRecord> records;
  visit_lines(path, [&](Line line) {
    records.push_back(std::move(line.record));
    return true;
  });
  return records;
}

}  // namespace kessoku::metrics
