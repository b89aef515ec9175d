#include "launcher/options/launch_options.h"

#include <CLI/CLI.hpp>

#include "launcher/options/run_options.h"

namespace kessoku::launcher {

CLI::App* declare(CLI::App& app, runtime::SupervisorOptions& options) {
  CLI::App* command =
      app.add_subcommand("launch", "Train over ranks and hosts; restart after crashes and hangs");
  add_run_options(*command, options);
  command->add_option("-n", options.ranks, "ranks; default: all slots of the hosts, else 1")
      ->check(CLI::PositiveNumber);
  command->add_option("--hosts", options.hosts, "host:slots,host:slots,…");
  command->add_option("--hostfile", options.hostfile, "a host a line: name slots=4");
  command->add_option("--agent", options.agent, "what starts a program on a host")
      ->capture_default_str();
  command
      ->add_option("--patience", options.patience,
                   "restarts in a row that may gain nothing before it gives up")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  command
      ->add_option(
          "--backoff", options.backoff,
          "seconds before a restart; doubled, from 1 up to 60, while restarts gain nothing")
      ->capture_default_str()
      ->check(CLI::NonNegativeNumber);
  command
      ->add_option("--heartbeat", options.heartbeat,
                   "seconds without a record, image or checkpoint after which it is started "
                   "again; 0 = off")
      ->capture_default_str()
      ->check(CLI::NonNegativeNumber);
  command->add_option("--host-timeout", options.host_timeout, "seconds a host has to answer")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  command->add_option("--mpirun", options.mpirun, "the program")->capture_default_str();
  command->add_option("--mpi", options.mpi_options, "one more word for mpirun; may be repeated")
      ->take_all()
      ->expected(1)
      ->allow_extra_args(false);
  command->add_flag("--dry-run", options.dry_run,
                    "check the run file, and only say what would be started");
  command->footer(
      "Example: kessoku launch -n 4 configs/cluster.toml --hosts node1:2,node2:2\n"
      "SIGINT, SIGTERM and SIGUSR1 stop the training with a checkpoint (exit code 75).");
  return command;
}

}  // namespace kessoku::launcher
