// What the collectives of a step take between ranks, to be run under mpirun:
//
//     mpirun -n 4 build/bench/collectives_bench [rounds]
//
// Rank 0 prints one JSON document: seconds of a reduce-scatter (f32, and with bf16 on the wire) and
// an all-gather for several sizes (the median of the rounds, one after the other, begun together),
// and the latency and bandwidth that fit those in f32 best: seconds = (ranks − 1) · (latency +
// bytes / ranks / bandwidth), the model of `kessoku plan --ranks`, for its --latency and --link.
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "runtime/communication/communicator.h"

namespace {

using kessoku::runtime::Communicator;
using Clock = std::chrono::steady_clock;

template <typename Exchange>
double median_seconds(Communicator& communicator, int rounds, const Exchange& exchange) {
  std::vector<double> seconds;
  for (int round = 0; round <= rounds; ++round) {
    communicator.barrier();
    const auto start = Clock::now();
    exchange()->wait();
    communicator.barrier();  // the slowest rank counts
    if (round > 0) seconds.push_back(std::chrono::duration<double>(Clock::now() - start).count());
  }
  std::ranges::sort(seconds);
  return seconds[seconds.size() / 2];
}

struct Sample {
  double bytes, seconds;
};

/// The line seconds = begin + slope · bytes with the least sum of squared relative errors.
std::pair<double, double> fit(const std::vector<Sample>& samples) {
  double w = 0, wx = 0, wxx = 0, wy = 0, wxy = 0;
  for (const auto& [x, y] : samples) {
    const double weight = 1 / (y * y);
    w += weight, wx += weight * x, wxx += weight * x * x, wy += weight * y, wxy += weight * x * y;
  }
  const double slope = (w * wxy - wx * wy) / (w * wxx - wx * wx);
  return {(wy - slope * wx) / w, slope};
}

}  // namespace

int main(int argc, char** argv) {
  const int rounds = argc > 1 ? std::stoi(argv[1]) : 9;
  const auto communicator = kessoku::runtime::make_communicator();
  const int ranks = communicator->size();
  std::vector<Sample> samples;
  nlohmann::json sizes = nlohmann::json::array();
  for (const int64_t megabytes : {1, 2, 4, 8}) {
    const int64_t numel = megabytes * (1 << 18) / ranks * ranks;
    at::Tensor whole = at::zeros({numel}, at::kFloat);
    at::Tensor part = whole.narrow(0, communicator->rank() * numel / ranks, numel / ranks);
    const double reduced = median_seconds(
        *communicator, rounds, [&] { return communicator->reduce_scatter(whole, part); });
    const double rounded = median_seconds(*communicator, rounds, [&] {
      return communicator->reduce_scatter(whole, part, kessoku::runtime::Wire::kBFloat16);
    });
    const double gathered = median_seconds(*communicator, rounds,
                                           [&] { return communicator->all_gather(part, whole); });
    const auto bytes = static_cast<double>(whole.nbytes());
    samples.push_back({bytes, reduced});
    samples.push_back({bytes, gathered});
    sizes.push_back({{"bytes", bytes},
                     {"reduce_scatter_seconds", reduced},
                     {"reduce_scatter_bf16_seconds", rounded},
                     {"all_gather_seconds", gathered}});
  }
  const auto [begin, slope] = fit(samples);
  if (communicator->rank() > 0 || ranks == 1) return 0;
  const nlohmann::json result{{"ranks", ranks},
                              {"sizes", sizes},
                              {"latency_seconds", std::max(0.0, begin / (ranks - 1))},
                              {"bytes_per_second", (ranks - 1) / (slope * ranks)}};
  fmt::print("{}\n", result.dump(1));
  return 0;
}
