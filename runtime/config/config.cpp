#include "runtime/config/config.h"

#include <toml++/toml.h>

#include "base/error.h"
#include "base/file.h"
#include "runtime/config/config_fields.h"
#include "runtime/config/config_reader.h"
#include "runtime/config/config_writer.h"

namespace kessoku::runtime {

namespace {

/// Puts "a.b=value" into the table; a value that is not TOML is taken as text.
void apply_override(toml::table& root, const std::string& assignment) {
  const size_t equals = assignment.find('=');
  if (equals == std::string::npos || equals == 0) {
    throw UsageError(fmt::format("--set {}: write --set section.key=value", assignment));
  }
  const std::string key = assignment.substr(0, equals);
  const std::string text = assignment.substr(equals + 1);
  toml::table parsed;
  try {
    parsed = toml::parse("value = " + text);
  } catch (const toml::parse_error&) {
    parsed = toml::table{{"value", text}};
  }
  const size_t dot = key.find('.');
  toml::table* table = &root;
  if (dot != std::string::npos) {
    const std::string section = key.substr(0, dot);
    if (!root.contains(section)) root.insert(section, toml::table{});
    table = root[section].as_table();
    if (table == nullptr)
      throw UsageError(fmt::format("--set {}: {} is not a section", assignment, section));
  }
  table->insert_or_assign(dot == std::string::npos ? key : key.substr(dot + 1),
                          *parsed.get("value"));
}

void require(bool holds, const std::filesystem::path& file, const std::string& message) {
  if (!holds) throw UsageError(fmt::format("{}: {}", file.string(), message));
}

void require_one_of(const std::string& value, const std::vector<std::string>& choices,
                    const std::string& key, const std::filesystem::path& file) {
  require(std::find(choices.begin(), choices.end(), value) != choices.end(), file,
          fmt::format("{} = \"{}\": choose one of {}", key, value, fmt::join(choices, ", ")));
}

void require_probability(double value, const std::string& key, const std::filesystem::path& file) {
  require(value >= 0 && value <= 1, file,
          fmt::format("{} = {} must be between 0 and 1", key, value));
}

void validate(const RunConfig& c, const std::filesystem::path& file) {
  require(!c.name.empty() && c.name.find('/') == std::string::npos && c.name[0] != '.', file,
          "name must be usable as a folder's name");
  require(!c.model.path.empty(), file, "model.path is missing: the model folder to start from");
  require(!c.data.store.empty(), file,
          "data.store is missing: the store that `kessoku prepare` made");
  require_probability(c.data.caption_dropout, "data.caption_dropout", file);
  require(c.data.max_token_length == 75 || c.data.max_token_length == 150 ||
              c.data.max_token_length == 225,
          file,
          fmt::format("data.max_token_length = {}: choose one of 75, 150, 225",
                      c.data.max_token_length));
  require_one_of(c.data.front_end, {"", "hf", "hf-fast", "openai"}, "data.front_end", file);
  require_probability(c.data.flip, "data.flip", file);
  require(c.data.threads >= 1, file, "data.threads must be at least 1");
  require(c.data.keep_tags >= 0, file, "data.keep_tags must be 0 or more");
  require(c.data.prefetch >= 1, file, "data.prefetch must be at least 1");
  require_one_of(c.data.on_bad_row, {"stop", "skip"}, "data.on_bad_row", file);
  require(!c.train.target.empty(), file,
          "train.target is empty: [\"unet\", \"text_encoder\"] or [\"vae\"]");
  for (const std::string& part : c.train.target) {
    require_one_of(part, {"unet", "text_encoder", "vae"}, "train.target", file);
  }
  require(!c.trains("vae") || c.train.target.size() == 1, file,
          "train.target: the vae is trained alone");
  require(c.train.steps >= 1, file, "train.steps must be at least 1");
  require(c.train.stop_after_hours >= 0, file, "train.stop_after_hours must not be negative");
  require(c.train.global_batch >= 1, file, "train.global_batch must be at least 1");
  require(c.train.micro_batch >= 1, file, "train.micro_batch must be at least 1");
  require_one_of(c.train.precision, {"fp32", "bf16", "fp16"}, "train.precision", file);
  require_one_of(c.train.device, {"auto", "cuda", "cpu"}, "train.device", file);
  require(c.train.clip_skip >= 0, file, "train.clip_skip must not be negative");
  require_one_of(c.train.prediction, {"", "epsilon", "v_prediction"}, "train.prediction", file);
  require_one_of(c.train.beta_schedule, {"", "scaled_linear", "linear", "squaredcos_cap_v2"},
                 "train.beta_schedule", file);
  const std::vector<double>& betas = c.train.beta_range;
  require(
      betas.empty() || (betas.size() == 2 && betas[0] > 0 && betas[0] <= betas[1] && betas[1] < 1),
      file, "train.beta_range must be [start, end], rising within 0 … 1");
  require(c.train.min_snr_gamma >= 0, file, "train.min_snr_gamma must not be negative");
  require(c.train.noise_offset >= 0 && c.train.noise_offset <= 1, file,
          "train.noise_offset must be between 0 and 1; 0.05 to 0.1 is usual");
  require(c.train.pyramid_levels >= 0 && c.train.pyramid_levels <= 10, file,
          "train.pyramid_levels must be between 0 and 10");
  require_probability(c.train.pyramid_discount, "train.pyramid_discount", file);
  require_probability(c.train.whole_masks, "train.whole_masks", file);
  require(!c.train.inpainting || !c.trains("vae"), file,
          "train.inpainting is about the UNet; train.target trains the vae");
  const std::vector<int64_t>& timesteps = c.train.timesteps;
  require(timesteps.empty() ||
              (timesteps.size() == 2 && timesteps[0] >= 0 && timesteps[0] < timesteps[1]),
          file, "train.timesteps must be [first, one past the last]");
  require_one_of(c.optimizer.name, {"adamw", "lion"}, "optimizer.name", file);
  require_one_of(c.optimizer.schedule,
                 {"constant", "linear", "cosine", "cosine_with_restarts", "polynomial"},
                 "optimizer.schedule", file);
  require(c.optimizer.schedule_cycles >= 1, file, "optimizer.schedule_cycles must be at least 1");
  require(c.optimizer.schedule_power > 0, file, "optimizer.schedule_power must be above 0");
  require(c.optimizer.schedule != "polynomial" ||
              (c.optimizer.end_lr >= 0 && c.optimizer.end_lr < c.optimizer.lr),
          file, "optimizer.end_lr must be at least 0 and below optimizer.lr");
  require(c.optimizer.lr >= 0, file, "optimizer.lr must not be negative");
  for (const auto& [pattern, scale] : c.optimizer.lr_scale) {
    require(scale >= 0, file,
            fmt::format("optimizer.lr_scale: the factor of \"{}\" must not be negative", pattern));
  }
  require(c.optimizer.betas.size() == 2, file, "optimizer.betas must be two numbers");
  for (double beta : c.optimizer.betas) {
    require(beta >= 0 && beta < 1, file, "optimizer.betas must be at least 0 and below 1");
  }
  require(c.optimizer.eps > 0, file, "optimizer.eps must be above 0");
  require(c.optimizer.grad_clip >= 0, file, "optimizer.grad_clip must not be negative");
  require(c.ema.decay >= 0 && c.ema.decay < 1, file, "ema.decay must be at least 0 and below 1");
  require_one_of(c.communication.wire, {"fp32", "bf16"}, "communication.wire", file);
  require(c.communication.bucket_mb > 0, file, "communication.bucket_mb must be above 0");
  require(c.communication.timeout_seconds >= 0, file,
          "communication.timeout_seconds must not be negative");
  require_one_of(c.checkpoint.weights_dtype, {"fp16", "bf16", "fp32"}, "checkpoint.weights_dtype",
                 file);
  require(c.sample.size.empty() || c.sample.size.size() == 2, file,
          "sample.size must be [width, height]");
  require(c.validation.fraction >= 0 && c.validation.fraction < 1, file,
          "validation.fraction must be at least 0 and below 1");
  require(c.metrics.port <= 65535, file, "metrics.port must be at most 65535");
}

toml::table parse(const std::string& text, const std::filesystem::path& file) {
  try {
    return toml::parse(text, file.string());
  } catch (const toml::parse_error& error) {
    throw UsageError(fmt::format("{}, line {}: {}", file.string(), error.source().begin.line,
                                 error.description()));
  }
}

}  // namespace

bool RunConfig::trains(const std::string& part) const {
  return std::find(train.target.begin(), train.target.end(), part) != train.target.end();
}

RunConfig parse_config(const std::string& toml, const std::filesystem::path& where) {
  const toml::table root = parse(toml, where);
  RunConfig config;
  ConfigReader reader(where, root);
  visit_fields(config, reader);
  return config;
}

RunConfig load_config(const std::filesystem::path& file,
                      const std::vector<std::string>& overrides) {
  toml::table root = parse(read_file(file, 1 << 20), file);
  for (const std::string& assignment : overrides) apply_override(root, assignment);
  RunConfig config;
  // The one default that hangs on another key: what its paper recommends.
  if (root["optimizer"]["name"] == "lion") config.optimizer.betas = {0.9, 0.99};
  ConfigReader reader(file, root);
  visit_fields(config, reader);
  reader.reject_unknown();
  validate(config, file);
  return config;
}

std::string to_toml(const RunConfig& config) {
  ConfigWriter writer;
  visit_fields(config, writer);
  return writer.text();
}

}  // namespace kessoku::runtime
