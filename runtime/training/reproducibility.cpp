#include "runtime/training/reproducibility.h"

#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "runtime/training/trainer.h"

namespace kessoku::runtime {

namespace {

/// Draws of a micro-batch as train.micro_batch asks for.
uint64_t leaf_of(const RunConfig& config) {
  return split_batch(config.train.global_batch, config.train.micro_batch, 1).micro;
}

/// As NVIDIA's driver calls the host's first GPU.
std::string gpu_name() {
  namespace fs = std::filesystem;
  std::error_code none;
  for (const auto& gpu : fs::directory_iterator("/proc/driver/nvidia/gpus", none)) {
    std::ifstream information(gpu.path() / "information");
    for (std::string line; std::getline(information, line);) {
      if (!line.starts_with("Model:")) continue;
      const size_t begin = line.find_first_not_of(" \t", 6);
      if (begin != std::string::npos) return line.substr(begin);
    }
  }
  return "GPU";
}

}  // namespace

std::string rank_dependence(const RunConfig& config, int ranks) {
  if (reduction_of(config) == Reduction::kFast) return "communication.reduction is \"fast\"";
  if (config.communication.wire == "bf16")
    return "gradients are rounded on the wire (communication.wire is \"bf16\")";
  if (!config.train.deterministic)
    return "GPUs compute with other bits in every run (train.deterministic is false)";
  const uint64_t leaf = leaf_of(config);
  const uint64_t micro =
      split_batch(config.train.global_batch, config.train.micro_batch, ranks).micro;
  if (micro == leaf) return "";
  return fmt::format(
      "{} ranks do not divide the {} micro-batches of {} draws, so that a rank computes {} at once",
      ranks, config.train.global_batch / leaf, leaf, micro);
}

std::string describe_reproducibility(const RunConfig& config, int ranks) {
  const std::string dependence = rank_dependence(config, ranks);
  if (!dependence.empty()) return "depend on the number of ranks: " + dependence;
  const uint64_t leaves = config.train.global_batch / leaf_of(config);
  std::vector<uint64_t> divisors;
  for (uint64_t i = 1; i <= leaves; ++i) {
    if (leaves % i == 0) divisors.push_back(i);
  }
  if (divisors.size() > 8)
    return fmt::format("the same on every number of ranks that divides {}", leaves);
  return fmt::format("the same on {} rank{}", fmt::join(divisors, ", "), leaves == 1 ? "" : "s");
}

std::string arithmetic_of(at::Device device) {
  const std::string kind = device.is_cpu() ? "CPU " + at::get_cpu_capability() : gpu_name();
  const int threads = at::get_num_threads();
  return fmt::format("{}, {} thread{}", kind, threads, threads == 1 ? "" : "s");
}

bool rounds_alike(at::Device device, Communicator& communicator) {
  const std::vector<std::string> all = communicator.all_gather_text(arithmetic_of(device));
  return std::ranges::count(all, all[0]) == std::ssize(all);
}

std::string arithmetic_warning(at::Device device, Communicator& communicator) {
  const std::vector<std::string> all = communicator.all_gather_text(arithmetic_of(device));
  for (size_t rank = 1; rank < all.size(); ++rank) {
    if (all[rank] == all[0]) continue;
    return fmt::format(
        "rank {} computes with {}, rank 0 with {}: the results are not bit-identical to those on "
        "other numbers of ranks (see train.threads)",
        rank, all[rank], all[0]);
  }
  return "";
}

}  // namespace kessoku::runtime
