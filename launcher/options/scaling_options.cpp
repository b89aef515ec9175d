#include "launcher/options/scaling_options.h"

#include <CLI/CLI.hpp>

namespace kessoku::launcher {

void add_scaling_options(CLI::App& command, ScalingOptions& options) {
  CLI::Option* ranks =
      command
          .add_option("--ranks", options.ranks,
                      "Predict time and memory of a step over so many ranks: 1,8,64")
          ->delimiter(',')
          ->check(CLI::Range(1, 1 << 20));
  const auto add = [&](const char* name, auto& value, const char* description) {
    return command.add_option(name, value, description)->needs(ranks);
  };
  add("--link", options.link, "a host's bandwidth to others, each way: 25GB/s, 100Gbit/s");
  add("--latency", options.latency, "of a message: 5us")->capture_default_str();
  add("--ranks-per-host", options.ranks_per_host, "ranks that share a link")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  add("--local-link", options.local_link,
      "bandwidth between ranks of a host, a rank; default: as --link");
  add("--transport", options.transport, "mpi | nccl; default: by train.device")
      ->check(CLI::IsMember({"mpi", "nccl"}));
  add("--compute", options.compute,
      "what forward and backward of train.micro_batch draws take (0.5s), a run folder whose log "
      "tells, or a GPU whose data sheet does (rtx3090, rtx4090, a100, h100, h200); default: some "
      "steps are taken here");
  command
      .add_flag("--weak", options.weak,
                "the global batch grows with the ranks, from the first of --ranks on")
      ->needs(ranks);
}

}  // namespace kessoku::launcher
