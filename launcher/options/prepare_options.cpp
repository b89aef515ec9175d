#include "launcher/options/prepare_options.h"

#include <CLI/CLI.hpp>

#include "data/dataset/dialect_table.h"
#include "launcher/options/run_options.h"

namespace kessoku::launcher {

CLI::App* declare(CLI::App& app, PrepareArguments& options) {
  CLI::App* command =
      app.add_subcommand("prepare", "Turn a folder of captioned images into a store to train from");
  command
      ->add_option("DATASET", options.dataset,
                   "Folder of images and captions, or a list of them: .json (everydream2, kohya), "
                   ".jsonl (kohya)")
      ->required();
  command->add_option("--out", options.store, "Folder of the store; what it has already is reused")
      ->required();
  command->add_option("--model", options.model.path,
                      "Model folder, lone weight file or run folder whose VAE encodes; needed "
                      "unless --keep images");
  add_vae_options(*command, options.model);
  add_device_option(*command, options.model.device);
  command
      ->add_option("--resolution", options.resolution,
                   "Side of a square image in pixels; chooses the buckets")
      ->capture_default_str();
  command
      ->add_option("--buckets", options.buckets,
                   "Sizes that images are brought to: everydream, everydream1, kohya, a list such "
                   "as 512x512,640x384, or a file with one")
      ->capture_default_str();
  command
      ->add_option("--dialect", options.dialect,
                   "Whose rules say what folders and files mean: " + data::describe_dialects())
      ->capture_default_str();
  command->add_option("--weights", options.weights,
                      "Weights of folders, a CSV of PATTERN,WEIGHT (screenshot-pipeline)");
  command
      ->add_option("--keep", options.keep,
                   "What to keep, comma-separated: images, latents, moments")
      ->capture_default_str();
  command
      ->add_option("--threads", options.threads,
                   "Threads of this process (0: its share of the cores)")
      ->check(CLI::NonNegativeNumber);
  command
      ->add_option("--variants", options.variants,
                   "Crops and mirror images kept of each image: 1 is the center, 2 that and its "
                   "mirror image, more have other crops, too")
      ->capture_default_str()
      ->check(CLI::Range(1, 64));
  command
      ->add_option("--background", options.background,
                   "Color behind transparent images: a name, #rrggbb or R,G,B")
      ->capture_default_str();
  command
      ->add_option("--max-pixels", options.most_pixels,
                   "Images that claim more pixels are refused unread")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  command->add_flag("--strict", options.strict,
                    "Write nothing, after listing all, when an image is bad");
  command->add_flag("--captions-only", options.captions_only,
                    "Refresh captions, weights and settings of the store; no image is looked at");
  command->add_flag("--replace", options.replace,
                    "Let the store lose images: all, if it was made with other settings, and those "
                    "that cannot be used any more");
  command->add_flag("--json", options.json, "Print the summary as JSON");
  add_log_format(*command);
  command->footer(
      "Under mpirun the work is shared among the ranks. Interrupted work resumes where it "
      "stopped.\n"
      "Example: kessoku prepare photos --out store --model models/base --resolution 512\n"
      "         kessoku prepare training --out store --model models/base --dialect "
      "screenshot-pipeline --weights weighting.csv");
  return command;
}

}  // namespace kessoku::launcher
