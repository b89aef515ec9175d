
#include "base/error.h"
#include "base/log.h"
#include "launcher/commands.h"
#include "launcher/model_folder.h"
#include "model/stable_diffusion/stable_diffusion.h"

namespace kessoku::launcher {

namespace {

std::string tokenizer_folder(const InitOptions& options) {
  if (!options.tokenizer.empty()) return options.tokenizer;
  const std::filesystem::path found = default_tokenizer();
  if (!found.empty()) return found.string();
  throw UsageError(
      "init: there is no models/clip-tokenizer/ here: scripts/setup.sh makes it, or give "
      "--tokenizer DIR with a vocab.json and merges.txt");
}

}  // namespace

void run(const InitOptions& options) {
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
  log_info("{}: UNet {}, text encoder {}, VAE {} parameters, seed {}", options.folder,
           count(made.unet.parameters()), count(made.text_encoder.parameters()),
           count(made.vae.parameters()), options.seed);
}

}  // namespace kessoku::launcher
