#include "metrics/tensorboard/tensorboard_log.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>

#include "base/descriptor.h"
#include "base/log.h"
#include "base/process/process.h"
#include "base/system_error.h"
#include "metrics/tensorboard/event_file.h"

namespace kessoku::metrics {

namespace {

namespace fs = std::filesystem;
constexpr std::string_view kPrefix = "events.out.tfevents.";

/// TensorBoard reads files in the order of their names, which begin with the time: later than all
/// that are there, even if two processes begin within a second.
fs::path next_file(const fs::path& folder, double time) {
  auto stamp = static_cast<uint64_t>(time);
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with(kPrefix)) continue;
    stamp =
        std::max<uint64_t>(stamp, std::strtoull(name.c_str() + kPrefix.size(), nullptr, 10) + 1);
  }
  return folder / fmt::format("{}{:010}.{}", kPrefix, stamp, host_name());
}

Scalars scalars_of(const StepRecord& record) {
  Scalars scalars;
  const auto add = [&](const std::string& tag, double value) {
    if (!std::isnan(value)) scalars.emplace_back(tag, static_cast<float>(value));
  };
  for (const StepNumber& number : kStepNumbers)
    add(fmt::format("train/{}", number.key), record.*number.value);
  if (record.validation_loss) add("validation/loss", *record.validation_loss);
  for (const auto& [name, loss] : record.category_losses) add("loss_of_folder/" + name, loss);
  for (size_t i = 0; i < kTimestepRanges; ++i)
    add("loss_of_timesteps/" + name_of_timesteps(i), record.timestep_losses[i]);
  for (size_t i = 0; i < kPhases; ++i)
    add(fmt::format("seconds/{}", to_string(static_cast<Phase>(i))), record.phase_seconds[i]);
  return scalars;
}

}  // namespace

TensorboardLog::TensorboardLog(const fs::path& folder, double time, uint64_t last_step) {
  fs::create_directories(folder);
  path_ = next_file(folder, time);
  file_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0644);
  if (file_ < 0) throw_system("open", path_);
  pending_ = version_record(time) + start_record(time, last_step + 1);
  write_pending();
}

TensorboardLog::~TensorboardLog() {
  write_pending();
  ::close(file_);
}

void TensorboardLog::append(const StepRecord& record) {
  pending_ += scalars_record(record.time, record.step, scalars_of(record));
  write_pending();
}

void TensorboardLog::write_pending() {
  pending_.erase(0, write_all(file_, pending_));
  const bool refused = !pending_.empty();
  if (refused && !warned_) {
    log_warning("{}: cannot write: {}; what is missing is written as soon as it can",
                path_.string(), std::strerror(errno));
  }
  warned_ = refused;
}

}  // namespace kessoku::metrics
