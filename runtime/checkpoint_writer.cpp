#include "runtime/checkpoint_writer.h"

#include <ATen/ops/zeros.h>
#include <c10/util/ParallelGuard.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "model/safetensors.h"
#include "runtime/checkpoint_folder.h"
#include "runtime/run_changes.h"

namespace kessoku::runtime {

namespace {

namespace fs = std::filesystem;
using nlohmann::json;

at::ScalarType weights_dtype(const RunConfig& config) {
  if (config.checkpoint.weights_dtype == "fp32") return at::kFloat;
  return config.checkpoint.weights_dtype == "bf16" ? at::kBFloat16 : at::kHalf;
}

json ranges_json(const std::vector<Range>& ranges) {
  json listed = json::array();
  for (const Range& range : ranges) listed.push_back({range.begin, range.end});
  return listed;
}

/// Where a writer leaves what the manifest is to say of its part.
fs::path part_file(const fs::path& folder, int rank) {
  return folder / fmt::format("part-{:05}.json", rank);
}

/// Bytes that programs may still take, as Linux estimates it; no limit where it does not tell.
uint64_t available_memory() {
  std::ifstream file("/proc/meminfo");
  std::string name, unit;
  uint64_t kilobytes = 0;
  while (file >> name >> kilobytes) {
    std::getline(file, unit);
    if (name == "MemAvailable:") return kilobytes * 1024;
  }
  return std::numeric_limits<uint64_t>::max();
}

}  // namespace

CheckpointWriter::CheckpointWriter(fs::path run, const RunConfig& config, RunIdentity identity,
                                   const data::Store& store, const model::StableDiffusion& model,
                                   Communicator& communicator)
    : run_(std::move(run)),
      config_(config),
      identity_(std::move(identity)),
      store_(store),
      model_(model),
      communicator_(communicator),
      writers_(config.optimizer.shard ? communicator.size() : 1) {
  if (first()) remove_unfinished_checkpoints(run_);
}

CheckpointWriter::~CheckpointWriter() {
  if (work_.valid()) work_.wait();
}

fs::path CheckpointWriter::beside_of(uint64_t step) const {
  return checkpoints_of(run_) / (checkpoint_name(step) + ".tmp");
}

void CheckpointWriter::begin(Trainer& trainer) {
  const at::ScalarType dtype = weights_dtype(config_);
  std::error_code ignored;
  if (first()) fs::remove_all(beside_of(trainer.steps_done()), ignored);
  layout_ = layout_of(trainer.flat());
  // A copy that does not fit would be the end of the run: then the training waits instead.
  at::Tensor fits = at::zeros({1}, at::kLong);
  const bool copies = config_.checkpoint.background &&
                      (snapshot_.step() > 0 || snapshot_bytes(trainer, first(), dtype) * 5 / 4 <
                                                   available_memory() / communicator_.local_size());
  *fits.data_ptr<int64_t>() = copies ? 1 : 0;
  communicator_.all_reduce(fits)->wait();
  const bool background = *fits.data_ptr<int64_t>() == communicator_.size();

  if (background) {
    snapshot_.take(trainer, first(), dtype);
  } else {
    snapshot_.borrow(trainer, first());
  }
  failed_ = complete_ = false;
  phase_ = Phase::kParts;
  work_ = std::async(std::launch::async, [this] { write_part(); });
  if (!background) finish();
}

void CheckpointWriter::write_part() {
  const c10::ParallelGuard serial(true);  // the cores belong to the training
  const fs::path folder = beside_of(snapshot_.step());
  if (first()) {
    model::save_model(folder, model_, weights_dtype(config_), snapshot_.weights());
    if (ledger_.empty()) ledger_ = store_ledger(store_);
    fs::create_directories(folder / "state");
    model::write_safetensors(folder / kLedgerFile, ledger_);
  }
  if (communicator_.rank() >= writers_) return;
  fs::create_directories(folder / "state");
  const fs::path shard = folder / "state" / state_shard_name(communicator_.rank(), writers_);
  model::write_safetensors(shard, snapshot_.state(),
                           {{"ranges", ranges_json(snapshot_.ranges()).dump()}});
  write_file_atomically(part_file(folder, communicator_.rank()),
                        describe_checkpoint_file(folder, shard).dump());
}

WriterState CheckpointWriter::own_state() {
  using namespace std::chrono_literals;
  if (!work_.valid()) return {0, failed_};
  if (work_.wait_for(0s) != std::future_status::ready) return {1, failed_};
  try {
    work_.get();
  } catch (const std::exception& error) {
    failed_ = true;
    report(error);
  }
  return {0, failed_};
}

void CheckpointWriter::advance(const WriterState& all) {
  if (all.unfinished > 0 || phase_ == Phase::kIdle) return;
  const bool failed = all.failed > 0;
  if (phase_ == Phase::kParts && !failed) {
    phase_ = Phase::kCommit;
    if (first()) work_ = std::async(std::launch::async, [this] { commit(); });
    return;
  }
  phase_ = Phase::kIdle;
  complete_ = !failed;
  snapshot_.release();
  std::error_code ignored;
  if (failed && first()) fs::remove_all(beside_of(snapshot_.step()), ignored);
}

bool CheckpointWriter::finish() {
  while (busy()) {
    if (work_.valid()) work_.wait();
    const WriterState own = own_state();
    at::Tensor all = at::zeros({1}, at::kLong);
    *all.data_ptr<int64_t>() = own.failed;
    communicator_.all_reduce(all)->wait();
    advance({0, static_cast<int>(*all.data_ptr<int64_t>())});
  }
  return complete_;
}

void CheckpointWriter::commit() {
  const fs::path folder = beside_of(snapshot_.step());
  json files = json::array();
  for (int rank = 0; rank < writers_; ++rank) {
    files.push_back(json::parse(read_file(part_file(folder, rank))));
    fs::remove(part_file(folder, rank));
  }
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    const std::string name = fs::relative(entry.path(), folder).generic_string();
    if (!entry.is_regular_file() || (name.starts_with("state/") && name != kLedgerFile)) continue;
    fsync_path(entry.path());
    files.push_back(describe_checkpoint_file(folder, entry.path()));
  }
  const uint64_t step = snapshot_.step();
  commit_checkpoint(run_, folder, checkpoint_name(step),
                    {{"format", kCheckpointFormat},
                     {"step", step},
                     {"draws", step * identity_.global_batch},
                     {"seed", identity_.seed},
                     {"global_batch", identity_.global_batch},
                     {"store", digests_json(store_.digests())},
                     {"loss_scale", snapshot_.scaler().scale()},
                     {"loss_scale_good_steps", snapshot_.scaler().good_steps()},
                     {"config", to_toml(config_)},
                     {"world_size", communicator_.size()},
                     {"shards", writers_},
                     {"layout", layout_},
                     {"files", files}});
  remove_old_checkpoints(run_, config_.checkpoint.keep, config_.checkpoint.keep_every_steps);
}

void CheckpointWriter::report(const std::exception& error) const {
  const std::vector<fs::path> before = list_checkpoints(run_);
  fmt::print(
      stderr, "kessoku (rank {}): the checkpoint of step {} is dropped: {}; {}\n",
      communicator_.rank(), snapshot_.step(), error.what(),
      before.empty() ? "there is none yet" : fmt::format("{} stays", before.front().string()));
}

}  // namespace kessoku::runtime
