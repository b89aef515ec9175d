#pragma once

#include <string>
#include <vector>

namespace kessoku::runtime {

/// What `kessoku launch` is asked for.
struct SupervisorOptions {
  std::string program;  ///< kessoku, at the same path on all hosts
  std::string run_file;
  std::string out;              ///< run folder; empty: runs/<name>
  std::string resume = "auto";  ///< of the first start; later ones go on
  std::vector<std::string> overrides;
  std::vector<std::string> allowed_changes;  ///< keys that may differ from the run's so far
  int ranks = 0;                             ///< 0: all slots of the hosts, else one
  std::string hosts, hostfile;  ///< see parse_hosts and read_hostfile; both empty: this machine
  std::string agent = "ssh";    ///< starts a program on a host
  std::string mpirun = "mpirun";
  std::vector<std::string> mpi_options;
  int patience = 1;    ///< restarts in a row that may gain nothing
  double backoff = 0;  ///< seconds before a restart, doubled (1 after 0) while nothing is gained
  double heartbeat = 1800;   ///< seconds without a sign of life before it is ended; 0 = off
  double host_timeout = 15;  ///< seconds that a host has to answer
  bool dry_run = false;      ///< only say what would be started
};

/// Runs `mpirun … kessoku train`, and starts it again from the newest checkpoint when it dies or
/// hangs, on the hosts that answer. SIGINT, SIGTERM and SIGUSR1 stop it with a checkpoint. Returns
/// what the training ended with, or what ended it for good (128 + the signal's number if one did).
/// Throws UsageError where the options or the run file are wrong, or no host answers.
int supervise(const SupervisorOptions& options);

}  // namespace kessoku::runtime
