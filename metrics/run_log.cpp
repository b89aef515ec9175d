#include "metrics/run_log.h"

#include <cerrno>
#include <cstring>

#include "base/error.h"
#include "base/file.h"

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

[[noreturn]] void throw_system(const char* what, const std::filesystem::path& path) {
  throw Error(ExitCode::kInternal,
              fmt::format("{}: cannot {}: {}", path.string(), what, std::strerror(errno)));
}

}  // namespace

RunLog::RunLog(const std::filesystem::path& path, uint64_t last_step)
    : path_(path), file_(nullptr) {
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
  file_ = std::fopen(path.c_str(), "abe");
  if (file_ == nullptr) throw_system("open", path);
  if (!closed) std::fputc('\n', file_);
}

RunLog::~RunLog() { std::fclose(file_); }

void RunLog::append(const StepRecord& record) {
  const std::string line = to_json(record) + '\n';
  if (std::fwrite(line.data(), 1, line.size(), file_) != line.size() || std::fflush(file_) != 0) {
    throw_system("write", path_);
  }
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
