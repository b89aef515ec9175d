#include "launcher/options/convert_options.h"

#include <CLI/CLI.hpp>

#include "launcher/options/dtype_option.h"

namespace kessoku::launcher {

CLI::App* declare(CLI::App& app, ConvertOptions& options) {
  CLI::App* command =
      app.add_subcommand("convert", "Write a model, or one of its networks, in another layout");
  command
      ->add_option("SRC", options.source.path,
                   "Model folder, lone .safetensors, .ckpt, .pt or .bin file, or run folder")
      ->required();
  command
      ->add_option("DST", options.destination,
                   "NAME.safetensors or NAME.ckpt: one file as most tools take it; else a folder")
      ->required();
  add_dtype_option(*command, options.dtype, {"fp16", "bf16", "fp32"},
                   "fp16, bf16 or fp32 (default: as stored)");
  command->add_option("--part", options.part, "Only this network: unet, text_encoder or vae")
      ->check(CLI::IsMember({"unet", "text_encoder", "vae"}));
  add_model_options(*command, options.source);
  command->add_flag("--bin", options.bin,
                    "Write a folder's weights as PyTorch's .bin, not as .safetensors");
  command->add_flag("--force", options.force, "Replace DST if kessoku convert wrote it");
  command->footer(
      "Example: kessoku convert runs/mine mine.safetensors --dtype fp16\n"
      "         kessoku convert v1-5-pruned.ckpt models/sd15 --vae vae-ft-mse.safetensors");
  return command;
}

}  // namespace kessoku::launcher
