#include "runtime/checkpoint/memory_checkpoint.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/scalar_tensor.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <exception>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/output_file.h"
#include "base/process/process.h"
#include "base/system_error.h"
#include "model/weights/safetensors.h"
#include "runtime/checkpoint/checkpoint_folder.h"
#include "runtime/checkpoint/manifest.h"
#include "runtime/host/process_resources.h"

namespace kessoku::runtime {

namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr const char* kManifest = "manifest.json";

/// Written when the shard is whole.
std::string part_name(int rank, int ranks) {
  return fmt::format("part-{:05}-of-{:05}.json", rank, ranks);
}

std::string shard_name(int rank, int ranks) { return "state/" + state_shard_name(rank, ranks); }

/// The files of a checkpoint of `ranks` ranks, relative to its folder.
std::vector<std::string> files_of(int ranks) {
  std::vector<std::string> files{kManifest};
  for (int rank = 0; rank < ranks; ++rank) {
    files.push_back(part_name(rank, ranks));
    files.push_back(shard_name(rank, ranks));
  }
  return files;
}

/// What a host has of a checkpoint.
struct Holding {
  int ranks = 0;  ///< that wrote it; 0: the manifest is not there
  std::set<std::string> files;
  bool has(const std::string& file) const { return files.contains(file); }
};

using Holdings = std::map<uint64_t, Holding>;  ///< by step

/// Shards whose part is not there may not be whole.
Holding look_at(const fs::path& checkpoint) {
  Holding holding;
  std::error_code gone;
  for (const auto& entry : fs::directory_iterator(checkpoint, gone))
    holding.files.insert(entry.path().filename());
  if (!holding.has(kManifest)) return holding;
  const json manifest = parse_json(read_file(checkpoint / kManifest), kManifest);
  holding.ranks = manifest.at("world_size").get<int>();
  for (int rank = 0; rank < holding.ranks; ++rank) {
    const std::string part = part_name(rank, holding.ranks);
    const std::string shard = shard_name(rank, holding.ranks);
    if (!holding.has(part)) continue;
    if (fs::exists(checkpoint / shard, gone)) {
      holding.files.insert(shard);
    } else {
      holding.files.erase(part);
    }
  }
  return holding;
}

/// All users share the place where it lies.
bool is_own(const fs::path& folder) {
  struct stat status {};
  return ::lstat(folder.c_str(), &status) == 0 && S_ISDIR(status.st_mode) &&
         status.st_uid == ::geteuid();
}

Holdings look_into(const fs::path& folder) {
  Holdings holdings;
  if (!is_own(folder)) return holdings;
  std::error_code gone;
  for (const auto& entry : fs::directory_iterator(folder, gone)) {
    try {
      const uint64_t step = checkpoint_step(entry.path());
      if (step > 0) holdings[step] = look_at(entry.path());
    } catch (const std::exception&) {  // nothing to resume from
    }
  }
  return holdings;
}

json to_json(const Holdings& holdings) {
  json listed = json::array();
  for (const auto& [step, holding] : holdings)
    listed.push_back({step, holding.ranks, holding.files});
  return listed;
}

Holdings holdings_of(const std::string& text) {
  Holdings holdings;
  for (const json& one : parse_json(text, "a rank's checkpoints in memory")) {
    holdings[one.at(0).get<uint64_t>()] = {one.at(1).get<int>(),
                                           one.at(2).get<std::set<std::string>>()};
  }
  return holdings;
}

/// Of one checkpoint: what each rank's host has.
using Places = std::vector<Holding>;

/// How many ranks wrote it; 0 if a part is nowhere.
int ranks_of_whole(const Places& places) {
  int ranks = 0;
  for (const Holding& place : places) ranks = std::max(ranks, place.ranks);
  if (ranks == 0) return 0;
  const std::vector<std::string> files = files_of(ranks);
  const bool whole = std::ranges::all_of(files, [&](const std::string& file) {
    return std::ranges::any_of(places, [&](const Holding& place) { return place.has(file); });
  });
  return whole ? ranks : 0;
}

/// The newest step after `step` of which all parts are somewhere, and where they are.
std::optional<std::pair<uint64_t, Places>> newest_whole(const std::vector<Holdings>& all,
                                                        uint64_t step) {
  std::set<uint64_t, std::greater<>> steps;
  for (const Holdings& holdings : all) {
    for (const auto& [one, holding] : holdings) steps.insert(one);
  }
  for (const uint64_t one : steps) {
    if (one <= step) break;
    Places places;
    for (const Holdings& holdings : all)
      places.push_back(holdings.contains(one) ? holdings.at(one) : Holding{});
    if (ranks_of_whole(places) > 0) return {{one, std::move(places)}};
  }
  return std::nullopt;
}

constexpr uint64_t kChunk = uint64_t{4} << 20;

/// The chunk of `bytes` from `begin` on, which may be beyond their end.
at::Tensor chunk_of(std::span<const std::byte> bytes, uint64_t begin) {
  begin = std::min<uint64_t>(begin, bytes.size());
  void* data = const_cast<std::byte*>(bytes.data() + begin);  // only read
  return at::from_blob(data, {static_cast<int64_t>(std::min(kChunk, bytes.size() - begin))},
                       at::kByte);
}

at::Tensor number(uint64_t value) {
  return at::scalar_tensor(static_cast<int64_t>(value), at::kLong);
}

/// A file that comes in chunks. The others go on sending if something goes wrong here: that is kept
/// until the file's end.
class ReceivedFile {
 public:
  explicit ReceivedFile(fs::path path) : path_(std::move(path)) {
    attempt([&] {
      fs::create_directories(path_.parent_path());
      out_.emplace(path_);
    });
  }
  void write(const at::Tensor& chunk) {
    attempt([&] {
      out_->write({static_cast<const std::byte*>(chunk.const_data_ptr()), chunk.nbytes()});
    });
    size_ += chunk.nbytes();
  }
  void finish() {
    attempt([&] {
      out_->finish();
      fs::resize_file(path_, size_);  // it may have been longer
    });
    if (failure_) std::rethrow_exception(failure_);
  }
  /// Does `work`, unless something has gone wrong.
  template <typename Work>
  void attempt(const Work& work) {
    if (failure_) return;
    try {
      work();
    } catch (const std::exception&) {
      failure_ = std::current_exception();
    }
  }

 private:
  fs::path path_;
  uint64_t size_ = 0;
  std::optional<OutputFile> out_;
  std::exception_ptr failure_;
};

/// Sends a file from rank `root` to all; with `target` this rank writes it. Throws when all of it
/// was sent, if it could not be written. Collective.
void send_file(const fs::path& path, int root, bool target, Communicator& communicator) {
  std::optional<MappedFile> source;
  if (communicator.rank() == root) source.emplace(path);
  at::Tensor size = number(source ? source->bytes().size() : 0);
  communicator.broadcast(size, root)->wait();
  std::optional<ReceivedFile> out;
  if (target) out.emplace(path);
  const auto bytes = size.item<int64_t>();
  for (int64_t begin = 0; begin < bytes; begin += static_cast<int64_t>(kChunk)) {
    at::Tensor chunk = source ? chunk_of(source->bytes(), static_cast<uint64_t>(begin))
                              : at::empty({std::min<int64_t>(kChunk, bytes - begin)}, at::kByte);
    communicator.broadcast(chunk, root)->wait();
    if (out) out->write(chunk);
  }
  if (out) out->finish();
}

/// Sends the file `sent` to the rank `distance` ranks on and writes what the rank as far back sends
/// to `received`. Throws when all was sent, if either could not be done. Collective.
void shift_file(const fs::path& sent, const fs::path& received, int distance,
                Communicator& communicator) {
  std::optional<MappedFile> source;
  ReceivedFile out(received);
  out.attempt([&] { source.emplace(sent); });
  const auto own = source ? source->bytes() : std::span<const std::byte>();
  const at::Tensor size = number(own.size());
  at::Tensor incoming = number(0);
  communicator.shift(size, incoming, distance)->wait();
  const auto bytes = incoming.item<int64_t>();
  const int64_t end = std::max(size.item<int64_t>(), bytes);
  const at::Tensor room = at::empty({static_cast<int64_t>(kChunk)}, at::kByte);
  for (int64_t begin = 0; begin < end; begin += static_cast<int64_t>(kChunk)) {
    const int64_t left = std::max<int64_t>(0, bytes - begin);
    at::Tensor chunk = room.narrow(0, 0, std::min<int64_t>(kChunk, left));
    communicator.shift(chunk_of(own, static_cast<uint64_t>(begin)), chunk, distance)->wait();
    out.write(chunk);
  }
  out.finish();
}

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

/// Gives each host the files that it lacks. Returns what went wrong on this one. Collective.
std::string complete(const fs::path& checkpoint, const Places& places, Communicator& communicator) {
  const Holding& own = places[static_cast<size_t>(communicator.rank())];
  std::string problem;
  for (const std::string& file : files_of(ranks_of_whole(places))) {
    const auto has = [&](const Holding& place) { return place.has(file); };
    if (std::ranges::all_of(places, has)) continue;
    const auto root = std::ranges::find_if(places, has) - places.begin();
    try {
      send_file(checkpoint / file, static_cast<int>(root),
                !has(own) && communicator.local_rank() == 0 && problem.empty(), communicator);
    } catch (const SystemError& error) {  // no room
      problem = error.what();
    } catch (const std::system_error& error) {
      problem = error.what();
    }
  }
  communicator.barrier();
  return problem;
}

/// Makes a checkpoint like others of the files that are there.
void assemble(const fs::path& checkpoint) {
  json manifest = parse_json(read_file(checkpoint / kManifest), kManifest);
  const int ranks = manifest.at("world_size").get<int>();
  manifest["files"] = json::array();
  for (int rank = 0; rank < ranks; ++rank) {
    const std::string part = part_name(rank, ranks);
    manifest["files"].push_back(parse_json(read_file(checkpoint / part), part));
  }
  write_checkpoint_manifest(checkpoint, manifest);
  verify_checkpoint(checkpoint);
}

}  // namespace

fs::path memory_folder_of(const RunConfig& config, const fs::path& run) {
  const std::string place = fs::weakly_canonical(run).string();
  return fs::path(config.checkpoint.memory_folder) /
         fmt::format("kessoku-{}-{}", ::geteuid(),
                     to_hex(checksum(std::as_bytes(std::span(place)))));
}

uint64_t newest_memory_step(const fs::path& folder) {
  const auto found = newest_whole({look_into(folder)}, 0);
  return found ? found->first : 0;
}

std::optional<fs::path> gather_memory_checkpoint(const fs::path& folder, uint64_t step,
                                                 Communicator& communicator) {
  std::vector<Holdings> all;
  for (const std::string& text : communicator.all_gather_text(to_json(look_into(folder)).dump()))
    all.push_back(holdings_of(text));
  const auto found = newest_whole(all, step);
  const bool speaks = communicator.local_rank() == 0;  // for its host
  if (!found) {
    if (speaks) remove_memory_checkpoints(folder);
    return std::nullopt;
  }
  if (speaks) {  // what is older would take the room that the rest of this one needs
    std::error_code ignored;
    for (const auto& [other, holding] : look_into(folder)) {
      if (other != found->first) fs::remove_all(folder / checkpoint_name(other), ignored);
    }
  }
  const fs::path checkpoint = folder / checkpoint_name(found->first);
  std::string problem = complete(checkpoint, found->second, communicator);
  if (speaks && problem.empty()) {
    try {
      assemble(checkpoint);
    } catch (const std::exception& error) {
      problem = error.what();
    }
  }
  if (!problem.empty()) log_warning("{}; a checkpoint on disk is used instead", problem);
  if (communicator.agrees(problem.empty())) return checkpoint;
  if (speaks) remove_memory_checkpoints(folder);
  return std::nullopt;
}

void remove_memory_checkpoints(const fs::path& folder) {
  std::error_code ignored;
  fs::remove_all(folder, ignored);
}

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
  if (is_own(folder_) && needed * ranks < free && fits_memory(needed, communicator_.local_size()))
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
  const std::string shard = shard_name(rank, ranks);
  fs::create_directories(checkpoint / "state");
  if (communicator_.local_rank() == 0)
    write_file_atomically(checkpoint / kManifest, describe_(trainer, snapshot_).dump());

  const fs::path room = make_room(own_, checkpoint / shard);
  const model::SafetensorsImage image(snapshot_.state(), shard_metadata(snapshot_.ranges()));
  OutputFile out(room);
  image.write(0, image.size(), [&](std::span<const std::byte> bytes) { out.write(bytes); });
  out.finish();
  fs::resize_file(room, image.size());
  fs::rename(room, checkpoint / shard);
  const FilePart part{shard, image.size(), 0, image.size(), to_hex(out.checksum())};
  part_ = runtime::to_json(part).dump();
  write_file_atomically(checkpoint / part_name(rank, ranks), part_);
  snapshot_.release();
}

/// Sends what was just written to another host, and keeps what another one sends. False if a rank
/// cannot: what it has got is no part of the checkpoint then. Collective.
bool MemoryCheckpoints::exchange() {
  const int ranks = communicator_.size();
  const std::string part =
      communicator_.all_gather_text(part_).at(static_cast<size_t>(peers_.rank));
  const fs::path& own = *own_.shards[1];
  const fs::path shard = checkpoint_of(own) / shard_name(peers_.rank, ranks);
  fs::path room;
  return all_can([&] { room = make_room(peers_, shard); }) &&
         all_can([&] { shift_file(own, room, distance_, communicator_); }) && all_can([&] {
           fs::rename(room, shard);
           write_file_atomically(checkpoint_of(shard) / part_name(peers_.rank, ranks), part);
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
  fs::remove(checkpoint / part_name(parts.rank, communicator_.size()), ignored);
  fs::rename(*older, room, ignored);
  if (communicator_.local_rank() == 0) fs::remove(checkpoint / kManifest, ignored);
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
