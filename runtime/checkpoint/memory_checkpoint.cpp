#include "runtime/checkpoint/memory_checkpoint.h"

#include <sys/stat.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/checksum.h"
#include "base/log.h"
#include "base/output_file.h"
#include "base/process/process.h"
#include "model/weights/safetensors.h"
#include "runtime/checkpoint/checkpoint_folder.h"
#include "runtime/checkpoint/manifest.h"
#include "runtime/checkpoint/memory_folder.h"
#include "runtime/communication/file_transfer.h"
#include "runtime/host/process_resources.h"

namespace kessoku::runtime {

namespace {

namespace fs = std::filesystem;
using nlohmann::json;

/// How many ranks on, counted around, each rank finds one of another host, by the ranks' hosts; 0
/// if there is no such number.
int distance_to_others(const std::vector<std::string>& hosts) {
  for (size_t distance = 1; distance < hosts.size(); ++distance) {
    bool all = true;
    for (size_t rank = 0; rank < hosts.size(); ++rank)
      all = all && hosts[rank] != hosts[(rank + distance) % hosts.size()];
    if (all) return static_cast<int>(distance);
  }
  return 0;
}

fs::path checkpoint_of(const fs::path& shard) { return shard.parent_path().parent_path(); }

}  // namespace

MemoryCheckpoints::MemoryCheckpoints(const RunConfig& config, fs::path folder,
                                     Communicator& communicator,
                                     std::function<json(Trainer&, const Snapshot&)> describe)
    : folder_(std::move(folder)),
      share_(std::getenv(kSupervised) == nullptr ? 0 : config.checkpoint.memory_share),
      on_peers_(config.checkpoint.memory_on_peers),
      communicator_(communicator),
      describe_(std::move(describe)),
      snapshot_({}, at::kFloat) {}

bool MemoryCheckpoints::is_due() const {
  if (share_ == 0 || communicator_.rank() != 0) return false;
  return !tried_ || Clock::now() - last_ >= shortest_ * (1 / share_ - 1);
}

void MemoryCheckpoints::copy(Trainer& trainer) {
  if (!std::exchange(tried_, true)) begin(trainer);
  if (share_ == 0) return;
  const Clock::time_point start = Clock::now();
  if (!all_can([&] { write(trainer); }) || (distance_ > 0 && !exchange())) share_ = 0;
  last_ = Clock::now();
  // The first ones take longer, until the system has given the pages.
  shortest_ = std::min(shortest_, last_ - start);
}

/// Does `work`; whether it could be done on all ranks. Collective.
bool MemoryCheckpoints::all_can(const std::function<void()>& work) {
  bool done = false;
  try {
    work();
    done = true;
  } catch (const std::exception& error) {
    log_warning("{}: no more checkpoints in memory", error.what());
  }
  return communicator_.agrees(done);
}

void MemoryCheckpoints::begin(Trainer& trainer) {
  const int rank = communicator_.rank(), ranks = communicator_.size();
  if (on_peers_) distance_ = distance_to_others(communicator_.all_gather_text(host_name()));
  own_.rank = rank;
  peers_.rank = (rank + ranks - distance_) % ranks;
  if (communicator_.agrees(fits(trainer, distance_ > 0))) return;
  if (distance_ > 0 && communicator_.agrees(fits(trainer, false))) {
    distance_ = 0;
  } else {
    share_ = 0;
  }
}

/// Two are there at a time.
bool MemoryCheckpoints::fits(Trainer& trainer, bool on_peers) const {
  const uint64_t needed = (on_peers ? 4 : 2) * snapshot_.bytes(trainer);
  struct statvfs space {};
  ::mkdir(folder_.c_str(), 0700);  // if it is not there
  const uint64_t free =
      ::statvfs(folder_.c_str(), &space) == 0 ? space.f_bavail * space.f_frsize : 0;
  const auto ranks = static_cast<uint64_t>(communicator_.local_size());
  if (is_own_folder(folder_) && needed * ranks < free &&
      fits_memory(needed, communicator_.local_size()))
    return true;
  if (communicator_.local_rank() == 0) {
    log_warning(
        "no checkpoints in memory{}: two take {:.2g} GB on this host, and {} has {:.2g} GB free; "
        "{} (checkpoint.{})",
        on_peers ? " of other hosts" : "", static_cast<double>(needed * ranks) / 1e9,
        folder_.parent_path().string(), static_cast<double>(free) / 1e9,
        on_peers ? "if a host is lost the run resumes from a checkpoint on disk"
                 : "restarts resume from checkpoints on disk",
        on_peers ? "memory_on_peers = false: none" : "memory_share = 0: none");
  }
  return false;
}

void MemoryCheckpoints::write(Trainer& trainer) {
  snapshot_.borrow(trainer);
  const int rank = own_.rank, ranks = communicator_.size();
  const fs::path checkpoint = folder_ / checkpoint_name(snapshot_.step());
  const std::string shard = memory_shard_name(rank, ranks);
  fs::create_directories(checkpoint / "state");
  if (communicator_.local_rank() == 0)
    write_file_atomically(checkpoint / kMemoryManifest, describe_(trainer, snapshot_).dump());

  const fs::path room = make_room(own_, checkpoint / shard);
  const model::SafetensorsImage image(snapshot_.state(), shard_metadata(snapshot_.ranges()));
  OutputFile out(room);
  image.write(0, image.size(), [&](std::span<const std::byte> bytes) { out.write(bytes); });
  out.finish();
  fs::resize_file(room, image.size());
  fs::rename(room, checkpoint / shard);
  const FilePart part{shard, image.size(), 0, image.size(), to_hex(out.checksum())};
  part_ = runtime::to_json(part).dump();
  write_file_atomically(checkpoint / memory_part_name(rank, ranks), part_);
  snapshot_.release();
}

/// Sends what was just written to another host, and keeps what another one sends. False if a rank
/// cannot: what it has got is no part of the checkpoint then. Collective.
bool MemoryCheckpoints::exchange() {
  const int ranks = communicator_.size();
  const std::string part =
      communicator_.all_gather_text(part_).at(static_cast<size_t>(peers_.rank));
  const fs::path& own = *own_.shards[1];
  const fs::path shard = checkpoint_of(own) / memory_shard_name(peers_.rank, ranks);
  fs::path room;
  return all_can([&] { room = make_room(peers_, shard); }) &&
         all_can([&] { shift_file(own, room, distance_, communicator_); }) && all_can([&] {
           fs::rename(room, shard);
           write_file_atomically(checkpoint_of(shard) / memory_part_name(peers_.rank, ranks), part);
         });
}

/// A file to write beside `shard`. It takes the pages of the older one of `parts`: when a rank
/// comes here again, all ranks have written the newer one, for no rank is a step ahead of another.
fs::path MemoryCheckpoints::make_room(Parts& parts, const fs::path& shard) {
  fs::path room = shard.string() + ".tmp";
  const std::optional<fs::path> older = parts.shards[0];
  parts.shards = {parts.shards[1], shard};
  const std::optional<fs::path>& oldest = older ? older : parts.shards[0];
  if (communicator_.local_rank() == 0 && oldest) remove_before(checkpoint_of(*oldest));
  if (!older) return room;
  const fs::path checkpoint = checkpoint_of(*older);
  std::error_code ignored;
  fs::remove(checkpoint / memory_part_name(parts.rank, communicator_.size()), ignored);
  fs::rename(*older, room, ignored);
  if (communicator_.local_rank() == 0) fs::remove(checkpoint / kMemoryManifest, ignored);
  fs::remove(checkpoint / "state", ignored);  // the last rank finds them empty
  fs::remove(checkpoint, ignored);
  return room;
}

/// Removes what came before: of the process before, for example.
void MemoryCheckpoints::remove_before(const fs::path& checkpoint) const {
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(folder_, ignored)) {
    if (checkpoint_step(entry.path()) < checkpoint_step(checkpoint))
      fs::remove_all(entry.path(), ignored);
  }
}

}  // namespace kessoku::runtime
