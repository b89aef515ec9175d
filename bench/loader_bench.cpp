// From a store to batches of 64 in random order: how many samples a second.
//
//     loader_bench make STORE ROWS        a store of latents of 4x64x64 and captions, and the same
//                                         latents alone as STORE/latents.raw
//     loader_bench read STORE THREADS     rows into slabs, checksums verified, with their captions
//     loader_bench load STORE THREADS     the same through the whole loader: noise, timesteps, …
//     loader_bench open STORE             to a sampler that is ready: prints the seconds
//
// read and load make a pass over the store for each line that they are sent, and answer with its
// samples a second: so one process can take turns with another that stays open, too.
#include <ATen/ops/empty.h>

#include <atomic>
#include <chrono>
#include <fstream>
#include <iostream>
#include <thread>

#include "base/error.h"
#include "base/random.h"
#include "data/loading/loader.h"
#include "data/store/shard_writer.h"

namespace kessoku::data {
namespace {

constexpr uint64_t kBatch = 64;
const std::vector<int64_t> kShape{4, 64, 64};

void make(const std::filesystem::path& path, uint64_t count) {
  std::filesystem::create_directories(path);
  StoreManifest manifest;
  manifest.kept = {Kind::kLatents};
  manifest.encoder = {.digest = "bench", .scaling_factor = 0.18215};
  manifest.buckets = {{512, 512}};
  manifest.categories = {{.path = "."}};
  std::vector<RowInfo> rows(count);
  for (uint64_t i = 0; i < count; ++i) {
    rows[i].source = fmt::format("{:08}.png", i);
    rows[i].caption = fmt::format("bocchi, guitar, image {}", i);
  }
  ShardLayout layout{manifest.kept, 1, {}};
  layout.groups.push_back({manifest.buckets[0], count, {{Kind::kLatents, kShape}}});
  ShardWriter writer(path / "shard-00000.h5", layout);
  std::ofstream raw(path / "latents.raw", std::ios::binary);
  std::vector<float> values(4 * 64 * 64);
  std::vector<at::Half> halves(values.size());
  for (uint64_t i = 0; i < count; ++i) {
    RandomStream(1, Purpose::kInitialLatents, i).fill_normal(values);
    std::copy(values.begin(), values.end(), halves.begin());
    const auto bytes = std::as_bytes(std::span(halves));
    writer.write(0, i, Kind::kLatents, 0, bytes);
    raw.write(reinterpret_cast<const char*>(bytes.data()), static_cast<int64_t>(bytes.size()));
  }
  manifest.shards.push_back(writer.finish({rows}));
  manifest.write(path);
}

Sampler make_sampler(const Store& store) {
  const Examples examples = examples_of(store.manifest(), store.rows());
  return {examples,
          resolve_mixture(store.manifest().categories, examples, {}),
          {.seed = 1, .global_batch = kBatch}};
}

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

void read_batches(const Store& store, const std::vector<std::vector<Draw>>& batches,
                  std::atomic<size_t>& next) {
  const at::Tensor slab = at::empty({kBatch, 4, 64, 64}, at::kHalf);
  const std::span bytes(static_cast<std::byte*>(slab.mutable_data_ptr()), slab.nbytes());
  const size_t row_bytes = bytes.size() / kBatch;
  for (size_t i = next++; i < batches.size(); i = next++) {
    std::vector<std::string> captions;
    captions.reserve(kBatch);
    for (size_t p = 0; p < kBatch; ++p) {
      store.read(batches[i][p].example, Kind::kLatents, 0, bytes.subspan(p * row_bytes, row_bytes));
      captions.push_back(store.caption(batches[i][p].example));
    }
  }
}

double read(const Store& store, int threads) {
  Sampler sampler = make_sampler(store);
  std::vector<std::vector<Draw>> batches;
  for (uint64_t step = 0; step < store.size() / kBatch; ++step)
    batches.push_back(sampler.step(step));
  std::atomic<size_t> next{0};
  const auto start = std::chrono::steady_clock::now();
  {
    std::vector<std::jthread> workers;
    for (int i = 1; i < threads; ++i)
      workers.emplace_back([&] { read_batches(store, batches, next); });
    read_batches(store, batches, next);
  }
  return static_cast<double>(batches.size() * kBatch) / seconds_since(start);
}

double load(const Store& store, int threads) {
  LoaderOptions options;
  options.last_step = store.size() / kBatch;
  options.micro_batch = kBatch;
  options.threads = threads;
  Loader loader(store, make_sampler(store), options);
  const auto start = std::chrono::steady_clock::now();
  for (uint64_t step = 0; step < options.last_step; ++step) loader.next();
  return static_cast<double>(options.last_step * kBatch) / seconds_since(start);
}

double open(const std::filesystem::path& path) {
  const auto start = std::chrono::steady_clock::now();
  const Store store(path);
  const double opened = seconds_since(start);
  Sampler sampler = make_sampler(store);
  sampler.step(0);
  fmt::print(stderr, "store {:.3f} s, sampler {:.3f} s, {} examples\n", opened,
             seconds_since(start) - opened, store.size());
  return seconds_since(start);
}

int run(const std::vector<std::string>& arguments) {
  if (arguments.size() != (arguments.empty() || arguments[0] != "open" ? 3 : 2)) {
    fmt::print(stderr,
               "usage: loader_bench make STORE ROWS | read|load STORE THREADS | open STORE\n");
    return 64;
  }
  if (arguments[0] == "open") {
    fmt::print("{}\n", open(arguments[1]));
    return 0;
  }
  if (arguments[0] == "make") {
    make(arguments[1], std::stoull(arguments[2]));
    return 0;
  }
  const Store store(arguments[1]);
  const int threads = std::stoi(arguments[2]);
  const auto pass = arguments[0] == "read" ? read : load;
  for (std::string line; std::getline(std::cin, line);) {
    fmt::print("{}\n", pass(store, threads));
    std::fflush(stdout);
  }
  return 0;
}

}  // namespace
}  // namespace kessoku::data

int main(int argc, char** argv) {
  try {
    return kessoku::data::run({argv + 1, argv + argc});
  } catch (const kessoku::Error& error) {
    fmt::print(stderr, "{}\n", error.what());
    return static_cast<int>(error.exit_code());
  }
}
