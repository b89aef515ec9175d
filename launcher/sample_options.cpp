#include "launcher/sample_options.h"

#include <algorithm>

#include "base/error.h"
#include "launcher/argument_text.h"
#include "launcher/model_folder.h"
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
  for (GenerationSettings& base : bases) {
    for (const auto& [key, value] : options.given) runtime::set_setting(base, key, value);
    if (!options.model.empty()) base.model = options.model;
  }
  return bases;
}

}  // namespace

void add_sample_options(CLI::App& command, SampleOptions& options) {
  // Settings remain text until all that may give them is known.
  const auto setting = [&](const std::string& name, const std::string& key,
                           const std::string& help) {
    return command.add_option_function<std::string>(
        name, [&options, key](const std::string& value) { options.given[key] = value; }, help);
  };
  const auto flag = [&](const std::string& name, const std::string& key, const std::string& value,
                        const std::string& help) {
    command.add_flag_callback(
        name, [&options, key, value] { options.given[key] = value; }, help);
  };
  const GenerationSettings usual;
  const auto usual_text = [&](const std::string& key) { return runtime::to_text(usual).at(key); };

  command.add_option("MODEL", options.model,
                     "Model folder, lone weight file, or run folder (its newest checkpoint)");
  setting("--config", "config", "Model folder whose configs and tokenizer a lone file takes");
  setting("--vae", "vae", "Folder or file of a VAE to use instead of the model's");
  flag("--ema", "ema", "true", "Take the moving averages of a lone file's UNet");
  setting("--front-end", "front_end",
          "What is done to prompts before they are tokenized: hf or openai (default: as the model "
          "says)");
  command.add_option("--prompt", options.prompts, "What to draw; may be given several times")
      ->take_all()
      ->expected(1)
      ->allow_extra_args(false);
  command.add_option("--prompts", options.prompts_file,
                     "File of prompts, one a line; or JSON objects with settings of their own");
  command.add_option_function<std::string>(
      "--negative",
      [&options](const std::string& value) { options.given["negative"] = argument_text(value); },
      "What not to draw");
  command.add_option("--count", options.count, "Images of each prompt, their seeds counting up")
      ->check(CLI::Range(1, 100'000))
      ->capture_default_str();
  setting("--seed", "seed", "Of the first image; the next ones count up")
      ->default_str(usual_text("seed"));
  setting("--size", "size", "WIDTHxHEIGHT in pixels (default: the model's own, or --init's)");
  setting("--steps", "steps", "Solver steps")->default_str(usual_text("steps"));
  setting("--cfg", "cfg", "Guidance scale; 1 = none")->default_str(usual_text("cfg"));
  setting("--solver", "solver", fmt::format("{}", fmt::join(model::solver_names(), ", ")))
      ->default_str(usual_text("solver"));
  setting("--eta", "eta", "Noise that ddim adds at each step, 0 to 1")
      ->default_str(usual_text("eta"));
  setting("--clip-skip", "clip_skip", "Layers left out at the text encoder's end")
      ->default_str(usual_text("clip_skip"));
  setting("--chunks", "chunks", "Of 75 pieces a prompt may have (default: as many as it needs)");
  flag("--fill-chunks", "fill_chunks", "true",
       "Always as many as --chunks, as with data.max_token_length");
  flag("--plain", "weights", "false", "Prompts are plain text: no (word:1.2), [word], BREAK");

  setting("--init", "init", "Image to begin with");
  setting("--mask", "mask", "Where to repaint --init: white; black is kept");
  setting("--strength", "strength",
          "How much of --init changes, 0 to 1 (default: 0.8; with --mask 1)");
  flag("--keep-original", "keep_original", "true", "Put --init's own pixels back outside the mask");
  setting("--feather", "feather", "Pixels over which they fade into the repainted part")
      ->default_str(usual_text("feather"));

  command.add_option("--from", options.from, "PNG of kessoku sample to make again; may be several")
      ->take_all()
      ->expected(1)
      ->allow_extra_args(false);
  command.add_flag("--any-model", options.any_model,
                   "With --from: continue even if the model is not the one that made the image");

  command.add_option("--out", options.out, "Folder for 00000.png, 00001.png … and grid.png")
      ->capture_default_str();
  command.add_option("--columns", options.columns, "Columns of the grid (default: a square)")
      ->check(CLI::PositiveNumber);
  command.add_flag("--labels", options.labels, "Prompts below the images of the grid");
  command.add_flag("--json", options.json, "Print what was written as JSON");
  add_device_option(command, options.device);

  setting("--tile", "tile",
          "Pixels a side of the tiles that the VAE works in; 0 = none, auto = for large images");
  setting("--batch", "batch",
          "Images at a time; part of what an image is a function of "
          "(default: by size, at most 8)");
  setting("--dtype", "dtype", "fp32 or bf16: what weights and activations are computed in")
      ->default_str(usual_text("dtype"));
  setting("--threads", "threads", "CPU threads (default: all cores)");
  setting(
      "--latents", "latents",
      "A .safetensors file whose \"latents\", unit normal (images, C, h, w), replace the seeds");
}

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
