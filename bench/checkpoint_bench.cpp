// Checkpoints of a run that was just begun, beside the plain copy and the plain write of as many
// bytes. Starts as `kessoku train` does, alone or under mpirun; no step is made.
//
//     checkpoint_bench RUN.toml RUN_FOLDER ROUNDS
//
// Prints a JSON line a round: bytes that a rank's snapshot takes, seconds of the plain copy of the
// same tensors (mean of one before and one after), seconds for which the training would have stood
// still; bytes of the whole checkpoint, seconds from then until it was complete, and those of
// writing as many bytes to files beside it and flushing them, each rank its share. Of ranks the
// slowest counts. What is written first changes from round to round: a disk may be faster at first.
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <thread>

#include "base/error.h"
#include "base/file.h"
#include "runtime/checkpoint/checkpoint_writer.h"
#include "runtime/training/parameter_settings.h"

namespace kessoku::runtime {
namespace {

namespace fs = std::filesystem;

struct NoObjective : Objective {
  at::Tensor losses(const data::Batch&) override { throw std::logic_error("no step is made"); }
  void set_before_use(const model::BeforeUse&) override {}
};

/// The slowest rank's seconds for `work`, which all begin together.
double seconds_of(Communicator& communicator, const std::function<void()>& work) {
  communicator.barrier();
  const auto start = std::chrono::steady_clock::now();
  work();
  const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - start;
  double slowest = 0;
  for (const std::string& one : communicator.all_gather_text(fmt::format("{}", passed.count())))
    slowest = std::max(slowest, std::stod(one));
  return slowest;
}

std::span<std::byte> bytes_of(const at::Tensor& tensor) {
  return {static_cast<std::byte*>(tensor.mutable_data_ptr()), tensor.nbytes()};
}

/// Memory as the snapshot has it: in large pages, and the process's already.
at::Tensor make_room(int64_t bytes) {
  const at::Tensor room = at::empty({bytes}, at::kByte);
  const std::span<std::byte> all = bytes_of(room);
  const auto skipped = static_cast<size_t>(-reinterpret_cast<uintptr_t>(all.data()) & 4095);
  ::madvise(all.data() + skipped, all.size() - skipped, MADV_HUGEPAGE);
  std::memset(all.data(), 1, all.size());
  return room;
}

/// What the snapshot takes: memcpy of this rank's state, and weights once more, in f16.
void copy_plainly(Trainer& trainer, const at::Tensor& room) {
  const int64_t own = total_size(trainer.state().owned) * static_cast<int64_t>(sizeof(float));
  int64_t place = 0;
  const auto take = [&](const at::Tensor& from) {
    std::memcpy(bytes_of(room.narrow(0, place, own)).data(), bytes_of(from).data(),
                static_cast<size_t>(own));
    place += own;
  };
  for (const model::Parameter& moment : trainer.state().moments) take(moment.tensor);
  take(trainer.flat().values());
  at::Tensor halves = room.narrow(0, place, room.numel() - place).view(at::kHalf);
  halves.copy_(trainer.flat().values().narrow(0, 0, halves.numel()));
}

/// One file, writes of 4 MiB one after the other, one flush.
void write_plainly(const fs::path& file, std::span<const std::byte> from, uint64_t bytes) {
  const int descriptor = ::open(file.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
  if (descriptor < 0) throw std::runtime_error("cannot create " + file.string());
  uint64_t place = 0;
  while (place < bytes) {
    const uint64_t piece = std::min(uint64_t{4} << 20, bytes - place);
    const auto next = from.subspan(std::min(place, from.size() - piece), piece);
    const ssize_t put = ::write(descriptor, next.data(), next.size());
    if (put <= 0) throw std::runtime_error("cannot write " + file.string());
    place += static_cast<uint64_t>(put);
  }
  if (::fsync(descriptor) != 0) throw std::runtime_error("cannot flush " + file.string());
  ::close(descriptor);
}

/// Lets the disk finish what was asked of it, the discarding of deleted files too. Both ways of
/// writing begin after it.
void settle() {
  ::sync();
  std::this_thread::sleep_for(std::chrono::seconds(2));
}

uint64_t checkpoint_bytes(const fs::path& checkpoint) {
  uint64_t bytes = 0;
  const nlohmann::json manifest = read_checkpoint_manifest(checkpoint);
  for (const auto& part : manifest.at("files")) bytes += part.at("bytes").get<uint64_t>();
  return bytes;
}

void measure(const RunConfig& config, const fs::path& run, int rounds) {
  const std::unique_ptr<Communicator> communicator = make_communicator();
  const data::Store store(config.data.store);
  const model::StableDiffusion model = model::load_model(fs::path(config.model.path));
  NoObjective objective;
  Trainer trainer(config, trained_parameters(config, model), objective,
                  DrawCounter(store.manifest().categories, store.rows()),
                  Audit(run, 0, *communicator), *communicator);
  const at::NoGradGuard no_grad;
  // Memory that nothing was written to is not there yet.
  for (const model::Parameter& moment : trainer.state().moments) moment.tensor.normal_();
  at::Tensor(trainer.flat().gradients()).normal_();

  CheckpointWriter writer(run, config, {config.seed, config.train.global_batch}, store, model,
                          *communicator);
  const bool first = communicator->rank() == 0;
  const fs::path checkpoint = checkpoints_of(run) / checkpoint_name(0);
  const fs::path plain = run / fmt::format("plain-{}", communicator->rank());
  const auto snapshot_bytes = static_cast<int64_t>(writer.snapshot_bytes(trainer));
  const at::Tensor room = make_room(snapshot_bytes);
  const auto copy = [&] {
    settle();
    return seconds_of(*communicator, [&] { copy_plainly(trainer, room); });
  };
  const auto raw_write = [&](uint64_t bytes) {
    const uint64_t share = bytes / static_cast<uint64_t>(communicator->size());
    settle();
    const double seconds =
        seconds_of(*communicator, [&] { write_plainly(plain, bytes_of(room), share); });
    fs::remove(plain);
    return seconds;
  };
  uint64_t bytes = 0;
  using Due = CheckpointWriter::Due;
  WriterState state;
  for (int round = 0; round < rounds; ++round) {
    writer.after_step(trainer, state, Due::kNo);
    // A run makes steps before its first checkpoint.
    if (round == 0) std::this_thread::sleep_for(std::chrono::seconds(6));
    double raw = round % 2 == 1 ? raw_write(bytes) : 0;
    const double before = copy();
    const double stall =
        seconds_of(*communicator, [&] { writer.after_step(trainer, state, Due::kNow); });
    bool complete = false;
    const double write = seconds_of(*communicator, [&] { complete = writer.finish(); });
    state = {};
    if (!complete) throw std::runtime_error("the checkpoint was not written");
    bytes = checkpoint_bytes(checkpoint);
    communicator->barrier();
    if (first) fs::remove_all(checkpoint);
    if (round % 2 == 0) raw = raw_write(bytes);
    const double after = copy();
    if (!first) continue;
    const nlohmann::json line{{"ranks", communicator->size()},
                              {"snapshot_bytes", snapshot_bytes},
                              {"copy_s", (before + after) / 2},
                              {"stall_s", stall},
                              {"bytes", bytes},
                              {"write_s", write},
                              {"raw_write_s", raw}};
    fmt::print("{}\n", line.dump());
    std::fflush(stdout);
  }
}

}  // namespace
}  // namespace kessoku::runtime

int main(int argc, char** argv) {
  if (argc != 4) {
    fmt::print(stderr, "checkpoint_bench RUN.toml RUN_FOLDER ROUNDS\n");
    return 64;
  }
  try {
    kessoku::runtime::measure(kessoku::runtime::load_config(argv[1]), argv[2], std::atoi(argv[3]));
  } catch (const std::exception& error) {
    fmt::print(stderr, "checkpoint_bench: {}\n", error.what());
    return 1;
  }
}
