#include "launcher/out_of_memory.h"

#include <fmt/format.h>

#include <map>

namespace kessoku::launcher {

std::string explain_out_of_memory(const std::string& command, const std::string& reason) {
  static const std::map<std::string, std::string> advice{
      {"train",
       "lower train.micro_batch (the global batch stays), or set train.gradient_checkpointing or "
       "checkpoint.background = false"},
      {"prepare", "lower --threads or --max-pixels"},
      {"sample", "lower --size or --batch, or leave out --tile 0"}};
  const auto found = advice.find(command);
  return fmt::format(
      "memory is not enough ({}): {}", reason,
      found == advice.end() ? "end other programs, or raise the limit (ulimit -v)" : found->second);
}

}  // namespace kessoku::launcher
