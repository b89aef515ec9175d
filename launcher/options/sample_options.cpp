#include "launcher/options/sample_options.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>

#include "launcher/options/model_options.h"
#include "model/diffusion/solver_families.h"
#include "model/pipeline/generation_defaults.h"

namespace kessoku::launcher {

CLI::App* declare(CLI::App& app, SampleOptions& options) {
  CLI::App* command =
      app.add_subcommand("sample", "Make images from prompts, of images, or repaint parts of them");
  // Settings remain text until all that may give them is known.
  const auto setting = [&](const std::string& name, const std::string& key,
                           const std::string& help) {
    return command->add_option_function<std::string>(
        name, [&options, key](const std::string& value) { options.given[key] = value; }, help);
  };
  const auto flag = [&](const std::string& name, const std::string& key, const std::string& value,
                        const std::string& help) {
    command->add_flag_callback(
        name, [&options, key, value] { options.given[key] = value; }, help);
  };
  const model::GenerationDefaults usual;

  command->add_option("MODEL", options.model,
                      "Model folder, lone weight file, or run folder (its newest checkpoint)");
  setting("--config", "config", "Model folder whose configs and tokenizer a lone file takes");
  setting("--vae", "vae", "Folder or file of a VAE to use instead of the model's");
  flag("--ema", "ema", "true", "Take the moving averages of a lone file's UNet");
  setting("--front-end", "front_end",
          "What is done to prompts before they are tokenized: hf or openai (default: as the model "
          "says)");
  command->add_option("--prompt", options.prompts, "What to draw; may be given several times")
      ->take_all()
      ->expected(1)
      ->allow_extra_args(false);
  command->add_option("--prompts", options.prompts_file,
                      "File of prompts, one a line; or JSON objects with settings of their own");
  setting("--negative", "negative", "What not to draw");
  command->add_option("--count", options.count, "Images of each prompt, their seeds counting up")
      ->check(CLI::Range(1, 100'000))
      ->capture_default_str();
  setting("--seed", "seed", "Of the first image; the next ones count up")->default_str("0");
  setting("--size", "size", "WIDTHxHEIGHT in pixels (default: the model's own, or --init's)");
  setting("--steps", "steps", "Solver steps")->default_str(fmt::format("{}", usual.steps));
  setting("--cfg", "cfg", "Guidance scale; 1 = none")->default_str(fmt::format("{}", usual.cfg));
  setting("--solver", "solver", fmt::format("{}", fmt::join(model::kSolverNames, ", ")))
      ->default_str(fmt::format("{}", usual.solver));
  setting("--eta", "eta", "Noise that ddim adds at each step, 0 to 1")->default_str("0");
  setting("--clip-skip", "clip_skip", "Layers left out at the text encoder's end")
      ->default_str("0");
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
      ->default_str(fmt::format("{}", usual.feather));

  command->add_option("--from", options.from, "PNG of kessoku sample to make again; may be several")
      ->take_all()
      ->expected(1)
      ->allow_extra_args(false);
  command->add_flag("--any-model", options.any_model,
                    "With --from: continue even if the model is not the one that made the image");

  command->add_option("--out", options.out, "Folder for 00000.png, 00001.png … and grid.png")
      ->capture_default_str();
  command->add_option("--columns", options.columns, "Columns of the grid (default: a square)")
      ->check(CLI::PositiveNumber);
  command->add_flag("--labels", options.labels, "Prompts below the images of the grid");
  command->add_flag("--json", options.json, "Print what was written as JSON");
  add_device_option(*command, options.device);

  setting("--tile", "tile",
          "Pixels a side of the tiles that the VAE works in; 0 = none, auto = for large images");
  setting("--batch", "batch",
          "Images at a time; part of what an image is a function of "
          "(default: by size, at most 8)");
  setting("--dtype", "dtype", "fp32 or bf16: what weights and activations are computed in")
      ->default_str("fp32");
  setting("--threads", "threads", "CPU threads (default: all cores)");
  setting(
      "--latents", "latents",
      "A .safetensors file whose \"latents\", unit normal (images, C, h, w), replace the seeds");
  command->footer(
      "Examples: kessoku sample runs/demo --prompt \"a cat and a dog\" --steps 20 --cfg 4 --seed 7 "
      "--out images\n"
      "          kessoku sample runs/demo --prompt \"a (red:1.3) hat\" --init a.png --mask m.png\n"
      "          kessoku sample --from images/00000.png\n"
      "Each PNG carries its prompt and settings. Ctrl-C keeps what is finished (exit code 75).");
  return command;
}

}  // namespace kessoku::launcher
