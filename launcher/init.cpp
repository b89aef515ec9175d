#include <spdlog/spdlog.h>

#include "base/error.h"
#include "launcher/commands.h"
#include "launcher/model_folder.h"
#include "model/stable_diffusion/stable_diffusion.h"

namespace kessoku::launcher {

namespace {

struct InitOptions {
  std::string preset;
  std::string folder;
  std::string tokenizer;
  uint64_t seed = 0;
};

std::string tokenizer_folder(const InitOptions& options) {
  if (!options.tokenizer.empty()) return options.tokenizer;
  const std::filesystem::path found = default_tokenizer();
  if (!found.empty()) return found.string();
  throw UsageError(
      "init: there is no models/clip-tokenizer/ here: scripts/setup.sh makes it, or give "
      "--tokenizer DIR with a vocab.json and merges.txt");
}

void run_init(const InitOptions& options) {
  namespace fs = std::filesystem;
  if (fs::exists(options.folder) &&
      !(fs::is_directory(options.folder) && fs::is_empty(options.folder))) {
    throw UsageError(fmt::format(
        "init: {} is there already and not an empty folder; give another one", options.folder));
  }
  const model::StableDiffusion made =
      model::create_model(options.preset, options.seed, tokenizer_folder(options));
  model::save_model(options.folder, made, at::kFloat);
  const auto count = [](const model::Parameters& parameters) {
    int64_t total = 0;
    for (const model::Parameter& parameter : parameters) total += parameter.tensor.numel();
    return total;
  };
  spdlog::info("{}: UNet {}, text encoder {}, VAE {} parameters, seed {}", options.folder,
               count(made.unet.parameters()), count(made.text_encoder.parameters()),
               count(made.vae.parameters()), options.seed);
}

}  // namespace

void add_init_command(CLI::App& app) {
  auto options = std::make_shared<InitOptions>();
  CLI::App* command =
      app.add_subcommand("init", "Write a model folder with fresh weights (diffusers layout)");
  command->add_option("--preset", options->preset, "Shape: tiny (the demo's) or sd15")
      ->required()
      ->check(CLI::IsMember({"tiny", "sd15"}));
  command->add_option("DIR", options->folder, "Folder to write; must not be there yet, or be empty")
      ->required();
  command->add_option("--seed", options->seed, "The weights are a function of it")
      ->capture_default_str();
  command->add_option("--tokenizer", options->tokenizer,
                      "Folder with vocab.json and merges.txt (default: models/clip-tokenizer)");
  command->footer("Example: kessoku init --preset tiny models/fresh");
  command->callback([options] { run_init(*options); });
}

}  // namespace kessoku::launcher
