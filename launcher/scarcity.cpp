#include "launcher/scarcity.h"

#include <fmt/format.h>

#include <map>
#include <regex>

#include "base/system_error.h"

namespace kessoku::launcher {

namespace {

/// LibTorch's message for the CPU has little that a user can use; that for a GPU stays as it is.
std::string shorten(const std::string& reason) {
  static const std::regex message(R"(\[enforce fail .*tried to allocate ([0-9]+) bytes.*)");
  std::smatch found;
  if (!std::regex_search(reason, found, message)) return reason;
  return fmt::format("{}{} MiB more were asked for", found.prefix().str(),
                     (std::stoull(found[1]) >> 20) + 1);
}

std::string save_memory(const std::string& command) {
  static const std::map<std::string, std::string> advice{
      {"train",
       "lower train.micro_batch (the global batch stays), or set train.gradient_checkpointing or "
       "train.precision = \"bf16\""},
      {"prepare", "lower --threads or --max-pixels"},
      {"sample", "lower --size, --batch or --tile (to 256)"}};
  const auto found = advice.find(command);
  return found == advice.end() ? "end other programs, or raise the limit (ulimit -v)"
                               : found->second;
}

}  // namespace

std::string explain_scarcity(const std::string& command, const std::string& reason) {
  if (is_out_of_memory(reason)) {
    return fmt::format("memory is not enough ({}): {}", shorten(reason), save_memory(command));
  }
  if (is_out_of_threads(reason)) {
    return fmt::format(
        "threads are not enough ({}): allow more (ulimit -u, docker --pids-limit), or lower {}",
        reason, command == "train" ? "train.threads and data.threads" : "--threads");
  }
  return reason;
}

}  // namespace kessoku::launcher
