#include "launcher/options/forward_options.h"

#include <CLI/CLI.hpp>

#include "launcher/options/dtype_option.h"

namespace kessoku::launcher {

CLI::App* declare(CLI::App& app, ForwardOptions& options) {
  CLI::App* command = app.add_subcommand("forward", "Run one module of a model on given tensors");
  command->add_option("MODULE", options.module, "unet, text_encoder, vae_encoder or vae_decoder")
      ->required()
      ->check(CLI::IsMember({"unet", "text_encoder", "vae_encoder", "vae_decoder"}));
  command->add_option("MODEL", options.model.path, "Model folder, lone weight file or run folder")
      ->required();
  add_model_options(*command, options.model);
  add_device_option(*command, options.model.device);
  command->add_option("IN", options.input, "Inputs as .safetensors, named as in diffusers")
      ->required();
  command->add_option("OUT", options.output, ".safetensors to write")->required();
  command
      ->add_option("--clip-skip", options.clip_skip,
                   "Last layers of the text encoder to leave out, as in diffusers")
      ->check(CLI::NonNegativeNumber);
  add_dtype_option(*command, options.dtype, {"fp32", "bf16"},
                   "fp32 or bf16: of weights, activations and the output")
      ->capture_default_str();
  command->footer(
      "Inputs and outputs:\n"
      "  unet          sample, timestep, encoder_hidden_states -> sample\n"
      "  text_encoder  input_ids (B, 77 n) -> last_hidden_state, of each 77 by themselves\n"
      "  vae_encoder   sample (-1 to 1) -> moments\n"
      "  vae_decoder   latent_sample (unscaled) -> sample\n"
      "Example: kessoku forward unet models/base in.safetensors out.safetensors");
  return command;
}

}  // namespace kessoku::launcher
