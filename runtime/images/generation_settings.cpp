#include "runtime/images/generation_settings.h"

#include <charconv>
#include <cmath>

#include "base/error.h"
#include "base/version.h"
#include "data/images/png.h"
#include "model/diffusion/solver.h"
#include "model/pipeline/generation_limits.h"

namespace kessoku::runtime {

namespace {

template <typename Number>
Number parse_number(const std::string& text, const char* what) {
  Number number{};
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (text.empty() || error != std::errc() || stop != text.data() + text.size())
    throw UsageError(fmt::format("must be {}", what));
  return number;
}

void parse(const std::string& text, std::string& field) { field = text; }
void parse(const std::string& text, uint64_t& field) {
  field = parse_number<uint64_t>(text, "a whole number, not negative");
}
void parse(const std::string& text, int64_t& field) {
  field = parse_number<int64_t>(text, "a whole number");
}
void parse(const std::string& text, double& field) {
  field = parse_number<double>(text, "a number");
  if (!std::isfinite(field)) throw UsageError("must be a finite number");
}
void parse(const std::string& text, bool& field) {
  if (text != "true" && text != "false") throw UsageError("must be true or false");
  field = text == "true";
}
template <typename Value>
void parse(const std::string& text, std::optional<Value>& field) {
  if (text == "auto") return field.reset();
  parse(text, field.emplace());
}

std::string print(const std::string& field) { return field; }
std::string print(bool field) { return field ? "true" : "false"; }
template <typename Value>
std::string print(const Value& field) {
  return fmt::format("{}", field);
}
template <typename Value>
std::string print(const std::optional<Value>& field) {
  return field ? print(*field) : std::string();
}

/// "512x768", both numbers of one field.
template <typename Integer>
struct Size {
  Integer& width;
  Integer& height;
};

void parse(const std::string& text, Size<int64_t> size) {
  const size_t cross = text.find('x');
  const char* what = "WIDTHxHEIGHT in pixels, e.g. 512x512";
  if (cross == std::string::npos) throw UsageError(fmt::format("must be {}", what));
  size.width = parse_number<int64_t>(text.substr(0, cross), what);
  size.height = parse_number<int64_t>(text.substr(cross + 1), what);
  if (size.width < 1 || size.height < 1) throw UsageError(fmt::format("must be {}", what));
}

template <typename Integer>
std::string print(const Size<Integer>& size) {
  return size.width > 0 ? fmt::format("{}x{}", size.width, size.height) : std::string();
}

/// What a number must lie within.
struct Range {
  double least = -HUGE_VAL, most = HUGE_VAL;
};

/// All keys: visit(key, field, range).
template <typename Settings, typename Visit>
void visit_settings(Settings& s, const Visit& visit) {
  constexpr Range kAny{};
  visit("prompt", s.request.prompt, kAny);
  visit("negative", s.request.negative, kAny);
  visit("seed", s.request.seed, kAny);
  visit("size", Size{s.request.width, s.request.height}, Range{1, model::kMostPixels});
  visit("steps", s.request.steps, Range{1, model::kMostSteps});
  visit("cfg", s.request.cfg, Range{0, model::kMostCfg});
  visit("solver", s.request.solver, kAny);
  visit("eta", s.request.eta, Range{0, 1});
  visit("clip_skip", s.request.text.clip_skip, Range{0, 100});
  visit("chunks", s.request.text.chunks, Range{0, 16});
  visit("fill_chunks", s.request.text.fill, kAny);
  visit("weights", s.request.text.weights, kAny);
  visit("init", s.init, kAny);
  visit("init_digest", s.init_digest, kAny);
  visit("mask", s.mask, kAny);
  visit("mask_digest", s.mask_digest, kAny);
  visit("strength", s.strength, Range{0, 1});
  visit("keep_original", s.keep_original, kAny);
  visit("feather", s.feather, Range{0, 1024});
  visit("tile", s.tile, Range{0, model::kMostPixels});
  visit("latents", s.latents, kAny);
  visit("latents_row", s.latents_row, Range{0, 1e9});
  visit("latents_digest", s.latents_digest, kAny);
  visit("batch", s.batch, Range{0, 64});
  visit("threads", s.threads, Range{0, 1024});
  visit("model", s.model, kAny);
  visit("config", s.config, kAny);
  visit("vae", s.vae, kAny);
  visit("ema", s.ema, kAny);
  visit("front_end", s.front_end, kAny);
  visit("dtype", s.dtype, kAny);
  visit("model_digest", s.model_digest, kAny);
  visit("kessoku", s.kessoku, kAny);
}

template <typename Field>
void check_range(const Field& field, const Range& range) {
  if constexpr (std::is_arithmetic_v<Field>) {
    if (!(static_cast<double>(field) >= range.least && static_cast<double>(field) <= range.most))
      throw UsageError(fmt::format("must be between {} and {}", range.least, range.most));
  }
}
template <typename Value>
void check_range(const std::optional<Value>& field, const Range& range) {
  if (field) check_range(*field, range);
}
template <typename Integer>
void check_range(const Size<Integer>& size, const Range& range) {
  check_range(size.width, range);
  check_range(size.height, range);
}

void check_solver(const std::string& name) {
  const std::vector<std::string> names = model::solver_names();
  if (std::find(names.begin(), names.end(), name) != names.end()) return;
  const std::string near = nearest_word(name, names);
  throw UsageError(near.empty() ? fmt::format("must be one of {}", fmt::join(names, ", "))
                                : fmt::format("is not known; did you mean {}?", near));
}

std::string web_ui_parameters(const GenerationSettings& settings) {
  const model::GenerationRequest& request = settings.request;
  std::string text = request.prompt + "\n";
  if (!request.negative.empty()) text += "Negative prompt: " + request.negative + "\n";
  text += fmt::format("Steps: {}, Sampler: {}, CFG scale: {}, Seed: {}, Size: {}x{}", request.steps,
                      model::web_ui_solver_name(request.solver), request.cfg, request.seed,
                      request.width, request.height);
  if (!settings.init.empty()) text += fmt::format(", Denoising strength: {}", request.strength);
  if (request.text.clip_skip > 0)
    text += fmt::format(", Clip skip: {}", request.text.clip_skip + 1);
  return text + fmt::format(", Model: {}, Version: kessoku {}",
                            std::filesystem::path(settings.model).filename().string(),
                            settings.kessoku);
}

}  // namespace

std::vector<std::string> setting_keys() {
  std::vector<std::string> keys;
  GenerationSettings settings;
  visit_settings(settings, [&](const char* key, const auto&, Range) { keys.emplace_back(key); });
  return keys;
}

void set_setting(GenerationSettings& settings, const std::string& key, const std::string& value) {
  bool known = false;
  visit_settings(settings, [&](const char* name, auto&& field, Range range) {
    if (key != name) return;
    known = true;
    try {
      parse(value, field);
      check_range(field, range);
      if (key == "solver") check_solver(value);
      if (key == "dtype" && value != "fp32" && value != "bf16")
        throw UsageError("must be fp32 or bf16");
      if (key == "front_end" && !value.empty()) model::parse_front_end(value);
    } catch (const UsageError& error) {
      throw UsageError(fmt::format("{} {}: {}", key, value, error.what()));
    }
  });
  // What is known of a file holds no longer if another one is given.
  if (key == "init") settings.init_digest.clear();
  if (key == "mask") settings.mask_digest.clear();
  if (key == "latents") settings.latents_digest.clear();
  if (known) return;
  const std::string near = nearest_word(key, setting_keys());
  throw UsageError(fmt::format("there is no setting {}{}", key,
                               near.empty() ? "" : fmt::format("; did you mean {}?", near)));
}

SettingsText to_text(const GenerationSettings& settings) {
  SettingsText text;
  visit_settings(settings, [&](const char* key, const auto& field, Range) {
    const std::string value = print(field);
    if (!value.empty() || key == std::string_view("prompt") || key == std::string_view("negative"))
      text.emplace(key, value);
  });
  return text;
}

GenerationSettings read_settings(const std::filesystem::path& png) {
  const data::PngText text = data::read_png_text(png);
  if (!text.contains("kessoku")) {
    throw DataError(fmt::format(
        "{}: carries no settings of kessoku sample; was it made or saved by another program?",
        png.string()));
  }
  GenerationSettings settings;
  for (const std::string& key : setting_keys()) {
    const auto found = text.find(key);
    if (found == text.end()) continue;
    try {
      set_setting(settings, key, found->second);
    } catch (const UsageError& error) {
      throw DataError(fmt::format("{}: {}", png.string(), error.what()));
    }
  }
  return settings;
}

SettingsText image_text(GenerationSettings settings) {
  settings.kessoku = version();
  SettingsText text = to_text(settings);
  text.emplace("parameters", web_ui_parameters(settings));
  return text;
}

}  // namespace kessoku::runtime
