#include "runtime/config/config.h"

#include <algorithm>

#include "base/error.h"
#include "base/log.h"
#include "base/text_file.h"
#include "runtime/config/config_reader.h"
#include "runtime/config/config_writer.h"

namespace kessoku::runtime {

namespace {

bool rises(const auto& pair) { return pair.empty() || pair[0] < pair[1]; }

/// What one value demands of another.
void check_combinations(const ConfigReader& reader, RunConfig& c) {
  const auto require = [&](bool holds, const char* name, const std::string& allowed) {
    if (holds) return;
    const Key& key = *find_key(name);
    reader.refuse(key, value_text(key.field(c)), allowed);
  };
  require(!c.train.target.empty() && (!c.trains("vae") || c.train.target.size() == 1),
          "train.target", R"(["unet"], ["text_encoder"], both, or ["vae"] alone)");
  require(!c.train.inpainting || !c.trains("vae"), "train.inpainting",
          R"(false where train.target is ["vae"])");
  require(rises(c.train.timesteps), "train.timesteps", "[first, end] with first below end");
  require(c.train.beta_range.empty() || c.train.beta_range[0] <= c.train.beta_range[1],
          "train.beta_range", "[start, end] with start not above end");
  require(c.optimizer.schedule != "polynomial" || c.optimizer.end_lr < c.optimizer.lr,
          "optimizer.end_lr", fmt::format("below optimizer.lr = {}", c.optimizer.lr));
}

}  // namespace

bool RunConfig::trains(const std::string& part) const {
  return std::ranges::find(train.target, part) != train.target.end();
}

bool RunConfig::draws_samples() const {
  return !sample.prompts.empty() && sample.every_steps > 0 && !trains("vae");
}

RunConfig parse_config(const std::string& toml, const std::filesystem::path& where) {
  const ConfigReader reader(toml, where);
  RunConfig config;
  for (const Key& key : all_keys()) reader.read(key, config, /*check=*/false);
  return config;
}

RunConfig load_config(const std::filesystem::path& file,
                      const std::vector<std::string>& overrides) {
  const Text text = read_text_file(file, 1 << 20);
  if (!text.warning.empty()) log_warning("{}: {}", file.string(), text.warning);
  ConfigReader reader(text.text, file);
  for (const std::string& assignment : overrides) reader.override_with(assignment);
  reader.reject_unknown();
  RunConfig config;
  // The one default that hangs on another key: what its paper recommends.
  reader.read(*find_key("optimizer.name"), config, /*check=*/true);
  if (config.optimizer.name == "lion") config.optimizer.betas = {0.9, 0.99};
  for (const Key& key : all_keys()) reader.read(key, config, /*check=*/true);
  check_combinations(reader, config);
  return config;
}

std::vector<std::string> settings_warnings(const RunConfig& config) {
  std::vector<std::string> warnings;
  RunConfig copy = config;
  for (const Key& key : all_keys()) {
    if (key.used_if && !key.used_if(config) && !key.is_default(config)) {
      warnings.push_back(fmt::format("{} = {} has no effect without {}", key.full_name(),
                                     value_text(key.field(copy)), key.used_with));
    }
  }
  const uint64_t warmup = config.optimizer.warmup_steps, steps = config.train.steps;
  if (warmup >= steps) {
    warnings.push_back(fmt::format(
        "optimizer.warmup_steps = {}: the run of {} steps ends before the learning rate reaches "
        "optimizer.lr",
        warmup, steps));
  }
  return warnings;
}

}  // namespace kessoku::runtime
