#include "launcher/list_images.h"

#include <algorithm>

#include "base/error.h"
#include "launcher/argument_text.h"
#include "launcher/prompt_file.h"
#include "model/diffusion/solver.h"
#include "model/pipeline/foreign_syntax.h"

namespace kessoku::launcher {

using runtime::GenerationSettings;
using runtime::SettingsText;

namespace {

/// The prompts without other programs' syntax, which is told. With --plain they are what they are.
void read_natively(GenerationSettings& settings, const std::string& where,
                   std::vector<std::string>& notes) {
  if (!settings.request.text.weights) return;
  for (std::string* prompt : {&settings.request.prompt, &settings.request.negative}) {
    model::NativePrompt native = model::without_foreign_syntax(*prompt);
    *prompt = std::move(native.text);
    for (const std::string& note : native.notes) {
      std::string line = fmt::format("{}: {}", where, note);
      if (std::ranges::find(notes, line) == notes.end()) notes.push_back(std::move(line));
    }
  }
}

/// What the images have in common: one set for each PNG of --from, else one of defaults.
std::vector<GenerationSettings> read_bases(const SampleOptions& options) {
  std::vector<GenerationSettings> bases;
  for (const std::string& png : options.from) {
    bases.push_back(runtime::read_settings(png));
    if (options.model.empty() && bases.back().model != bases.front().model) {
      throw UsageError(fmt::format(
          "{} was made with {} and {} with {}: give the model, or make one after the other",
          options.from.front(), bases.front().model, png, bases.back().model));
    }
  }
  if (bases.empty()) bases.emplace_back();
  SettingsText given = options.given;
  if (const auto negative = given.find("negative"); negative != given.end())
    negative->second = argument_text(negative->second);
  for (GenerationSettings& base : bases) {
    for (const auto& [key, value] : given) runtime::set_setting(base, key, value);
    if (!options.model.empty()) base.model = options.model;
  }
  return bases;
}

}  // namespace

std::vector<GenerationSettings> list_images(const SampleOptions& options,
                                            std::vector<std::string>& notes) {
  std::vector<PromptLine> lines;
  for (const std::string& prompt : options.prompts)
    lines.push_back({"--prompt", {{"prompt", argument_text(prompt)}}, options.count});
  if (!options.prompts_file.empty()) {
    for (PromptLine& line : read_prompt_file(options.prompts_file, options.count, notes))
      lines.push_back(std::move(line));
  }
  if (lines.empty() && !options.from.empty()) lines.push_back({"--from", {}, options.count});
  if (lines.empty())
    throw UsageError("sample: nothing to draw: give --prompt TEXT, --prompts FILE or --from PNG");

  std::vector<GenerationSettings> images;
  for (const GenerationSettings& base : read_bases(options)) {
    uint64_t next = 0;  // image of this base
    for (const PromptLine& line : lines) {
      GenerationSettings settings = base;
      for (const auto& [key, value] : line.settings) runtime::set_setting(settings, key, value);
      read_natively(settings, line.where, notes);
      const bool own_seed = line.settings.contains("seed");
      for (int64_t i = 0; i < line.count; ++i, ++next) {
        images.push_back(settings);
        images.back().request.seed += own_seed ? static_cast<uint64_t>(i) : next;
        if (options.given.contains("latents"))
          images.back().latents_row = static_cast<int64_t>(images.size()) - 1;
      }
    }
  }
  return images;
}

}  // namespace kessoku::launcher
