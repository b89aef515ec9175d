#include "launcher/options/train_options.h"

#include <CLI/CLI.hpp>

#include "launcher/options/run_options.h"

namespace kessoku::launcher {

CLI::App* declare(CLI::App& app, TrainOptions& options) {
  CLI::App* command =
      app.add_subcommand("train", "Train UNet and text encoder, or the VAE, as a run file says");
  add_run_options(*command, options);
  command->add_option(
      "--profile", options.profiled_steps,
      "record so many steps, from the third on, in profile/rank-N.json in the run folder (for "
      "ui.perfetto.dev)");
  command->footer(
      "Example: mpirun -n 2 kessoku train configs/demo.toml --set train.steps=500\n"
      "Without mpirun there is one rank. Ctrl-C, SIGTERM and SIGUSR1 stop it with a checkpoint "
      "(exit code 75); mpirun\n"
      "wants SIGUSR1, as on Ctrl-C it kills its ranks after one second.");
  return command;
}

}  // namespace kessoku::launcher
