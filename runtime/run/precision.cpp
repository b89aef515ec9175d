#include "runtime/run/precision.h"

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "runtime/checkpoint/checkpoint_folder.h"

namespace kessoku::runtime {

namespace {

std::string precision_of(const std::filesystem::path& checkpoint) {
  try {
    const auto toml = read_checkpoint_manifest(checkpoint).at("config").get<std::string>();
    return parse_config(toml, checkpoint / "state/run.json").train.precision;
  } catch (const nlohmann::json::exception& error) {
    throw DataError(
        fmt::format("{}: state/run.json is damaged: {}", checkpoint.string(), error.what()));
  }
}

}  // namespace

void settle_precision(RunConfig& config, at::Device device,
                      const std::optional<std::filesystem::path>& checkpoint) {
  std::string& precision = config.train.precision;
  if (precision != "auto") return;
  precision = checkpoint ? precision_of(*checkpoint) : device.is_cuda() ? "bf16" : "fp32";
}

}  // namespace kessoku::runtime
