// What bench/verification.py measures: seconds of digests of as many f32 weights.
//
//     verification_bench PARAMETERS THREADS ROUNDS
#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <fmt/format.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "runtime/verification/block_digests.h"

int main(int argc, char** argv) {
  if (argc != 4) return 64;
  using Clock = std::chrono::steady_clock;
  at::set_num_threads(std::atoi(argv[2]));
  const at::Tensor weights = at::empty({std::atoll(argv[1])});
  float* values = weights.mutable_data_ptr<float>();
  for (int64_t i = 0; i < weights.numel(); ++i) values[i] = static_cast<float>(i % 8191);
  std::vector<double> seconds;
  uint64_t digest = 0;
  for (int round = 0; round < std::atoi(argv[3]); ++round) {
    const auto start = Clock::now();
    digest = kessoku::runtime::digest_of(weights);
    seconds.push_back(std::chrono::duration<double>(Clock::now() - start).count());
  }
  const nlohmann::json result{{"bytes", weights.nbytes()},
                              {"seconds", seconds},
                              {"digest", fmt::format("{:016x}", digest)}};
  std::puts(result.dump().c_str());
  return 0;
}
