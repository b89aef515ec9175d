#include "metrics/run_follower.h"

#include <fstream>

#include "base/error.h"
#include "metrics/run_log.h"

namespace kessoku::metrics {

namespace {

namespace fs = std::filesystem;

constexpr size_t kRecent = 100;

/// 0 where there is none.
uint64_t size_of(const fs::path& file) {
  std::error_code absent;
  const uintmax_t size = fs::file_size(file, absent);
  return absent ? 0 : size;
}

}  // namespace

void RunFollower::poll() {
  const bool new_entry = size_of(account_book_of(run_)) != book_size_;
  const bool shortened = size_of(run_ / "log.jsonl") < log_offset_;
  if (new_entry || shortened) read_entry();
  read_log();
}

void RunFollower::read_entry() {
  book_size_ = size_of(account_book_of(run_));
  entry_ = last_account_entry(run_).value_or(AccountEntry{});
  recent_.clear();
  size_t count = 0;
  const auto needed = [&](const StepRecord& record) {
    return ++count <= kRecent || (!entry_.ended && record.time > entry_.time);
  };
  try {
    log_offset_ = offset_of_newest_records(run_ / "log.jsonl", needed);
  } catch (const Error&) {  // it is not there yet, being shortened, or damaged
    log_offset_ = 0;
  }
}

void RunFollower::read_log() {
  std::ifstream file(run_ / "log.jsonl", std::ios::binary);
  file.seekg(static_cast<std::streamoff>(log_offset_));
  for (std::string line; std::getline(file, line) && !file.eof();) {
    log_offset_ += line.size() + 1;
    try {
      last_ = step_record_from_json(line);
    } catch (const DataError&) {
      continue;  // it is being shortened
    }
    recent_.push_back(*last_);
    if (recent_.size() > kRecent) recent_.pop_front();
    if (!entry_.ended && last_->time > entry_.time) entry_.account.add(*last_);
  }
}

}  // namespace kessoku::metrics
