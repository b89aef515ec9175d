// The sampler over N examples that are only simulated: start-up, memory, draws and seeks a second.
//
//     sampler_bench N [THREADS]
//
// N / 10,000 folders (10 at least) have multipliers of their own, one image in 16 has
// another one; images fall into 11 buckets at random. G = 64. So many threads (1 by default) start
// it, one draws. Prints one line of JSON.
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>

#include "base/random.h"
#include "data/sampling/sampler.h"

namespace kessoku::data {
namespace {

constexpr uint32_t kBuckets = 11;
constexpr uint64_t kGlobalBatch = 64;

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double peak_bytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) * 1024;
}

double folder_multiplier(uint64_t folder) {
  return 0.25 + static_cast<double>(mix_bits(folder) % 1024) / 256;
}

Examples simulate(uint64_t size, uint64_t folders) {
  Examples examples{.size = size};
  for (uint32_t bucket = 0; bucket < kBuckets; ++bucket) examples.groups.push_back({bucket});
  const uint64_t per_folder = (size + folders - 1) / folders;
  examples.at = [per_folder](uint64_t i) -> ExampleKey {
    const uint64_t folder = i / per_folder, hash = mix_bits(i);
    const double own = (hash >> 32) % 16 == 0 ? 2 : 1;
    return {static_cast<uint32_t>(folder + 1),
            static_cast<uint32_t>((hash & 0xFFFFFFFF) % kBuckets), own * folder_multiplier(folder)};
  };
  return examples;
}

struct Rates {
  double draws_per_second = 0;
  std::vector<double> seek_seconds;
};

Rates measure(Sampler& sampler) {
  constexpr uint64_t kSteps = 50'000;
  Rates rates;
  uint64_t sum = 0;  // so that no draw is optimized away
  for (int i = 0; i < 200; ++i) {
    const uint64_t step = mix_bits(static_cast<uint64_t>(i)) % 1'000'000'000'000;
    const auto start = std::chrono::steady_clock::now();
    sum += sampler.step(step)[0].example;
    rates.seek_seconds.push_back(seconds_since(start));
  }
  std::ranges::sort(rates.seek_seconds);
  for (uint64_t step = 0; step < kSteps / 10; ++step) sum += sampler.step(step)[0].example;
  const auto start = std::chrono::steady_clock::now();
  for (uint64_t step = kSteps; step < 2 * kSteps; ++step) sum += sampler.step(step)[0].example;
  rates.draws_per_second = static_cast<double>(kSteps * kGlobalBatch) / seconds_since(start);
  if (sum == 0) fmt::print(stderr, "all draws are of example 0\n");
  return rates;
}

void run(uint64_t size, int threads) {
  const uint64_t folders = std::max<uint64_t>(10, size / 10'000);
  std::vector<Category> categories{{.path = "."}};
  for (uint64_t i = 0; i < folders; ++i) categories.push_back({.path = fmt::format("{:07}", i)});
  const Examples examples = simulate(size, folders);
  const double before = peak_bytes();
  const auto start = std::chrono::steady_clock::now();
  const Mixture mixture = resolve_mixture(categories, examples, {}, threads);
  const double mixture_seconds = seconds_since(start);
  Sampler sampler(examples, mixture, {.seed = 1, .global_batch = kGlobalBatch, .threads = threads});
  const double start_seconds = seconds_since(start);
  const double bytes = peak_bytes() - before;
  const Rates rates = measure(sampler);
  const nlohmann::json result{
      {"examples", size},
      {"folders", folders},
      {"threads", threads},
      {"leaves", mixture.leaves.size()},
      {"pass_draws", sampler.pass_draws()},
      {"mixture_seconds", mixture_seconds},
      {"start_seconds", start_seconds},
      {"bytes_per_example", bytes / static_cast<double>(size)},
      {"peak_gb", peak_bytes() / 1e9},
      {"draws_per_second", rates.draws_per_second},
      {"seek_seconds_median", rates.seek_seconds[rates.seek_seconds.size() / 2]},
      {"seek_seconds_worst", rates.seek_seconds.back()}};
  fmt::print("{}\n", result.dump());
}

}  // namespace
}  // namespace kessoku::data

int main(int argc, char** argv) {
  if (argc < 2) {
    fmt::print(stderr, "usage: sampler_bench EXAMPLES [THREADS]\n");
    return 64;
  }
  const uint64_t size = std::stoull(argv[1]);
  kessoku::data::run(size, argc > 2 ? std::stoi(argv[2]) : 1);
}
