#include "runtime/checkpoint/memory_folder.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <span>
#include <vector>

#include "base/checksum.h"
#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/system_error.h"
#include "runtime/checkpoint/checkpoint_folder.h"
#include "runtime/checkpoint/manifest.h"
#include "runtime/communication/file_transfer.h"

namespace kessoku::runtime {

namespace {

namespace fs = std::filesystem;
using nlohmann::json;

/// The files of a checkpoint of `ranks` ranks, relative to its folder.
std::vector<std::string> files_of(int ranks) {
  std::vector<std::string> files{kMemoryManifest};
  for (int rank = 0; rank < ranks; ++rank) {
    files.push_back(memory_part_name(rank, ranks));
    files.push_back(memory_shard_name(rank, ranks));
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
  if (!holding.has(kMemoryManifest)) return holding;
  const json manifest = parse_json(read_file(checkpoint / kMemoryManifest), kMemoryManifest);
  holding.ranks = manifest.at("world_size").get<int>();
  for (int rank = 0; rank < holding.ranks; ++rank) {
    const std::string part = memory_part_name(rank, holding.ranks);
    const std::string shard = memory_shard_name(rank, holding.ranks);
    if (!holding.has(part)) continue;
    if (fs::exists(checkpoint / shard, gone)) {
      holding.files.insert(shard);
    } else {
      holding.files.erase(part);
    }
  }
  return holding;
}

Holdings look_into(const fs::path& folder) {
  Holdings holdings;
  if (!is_own_folder(folder)) return holdings;
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

/// Gives each host the files that it lacks. Returns what went wrong on this one. Collective.
std::string complete(const fs::path& checkpoint, const Places& places, Communicator& communicator) {
  const Holding& own = places[static_cast<size_t>(communicator.rank())];
  std::string problem;
  for (const std::string& file : files_of(ranks_of_whole(places))) {
    const auto has = [&](const Holding& place) { return place.has(file); };
    if (std::ranges::all_of(places, has)) continue;
    const auto root = std::ranges::find_if(places, has) - places.begin();
    try {
      broadcast_file(checkpoint / file, static_cast<int>(root),
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
  json manifest = parse_json(read_file(checkpoint / kMemoryManifest), kMemoryManifest);
  const int ranks = manifest.at("world_size").get<int>();
  manifest["files"] = json::array();
  for (int rank = 0; rank < ranks; ++rank) {
    const std::string part = memory_part_name(rank, ranks);
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

std::string memory_part_name(int rank, int ranks) {
  return fmt::format("part-{:05}-of-{:05}.json", rank, ranks);
}

std::string memory_shard_name(int rank, int ranks) {
  return "state/" + state_shard_name(rank, ranks);
}

bool is_own_folder(const fs::path& folder) {
  struct stat status {};
  return ::lstat(folder.c_str(), &status) == 0 && S_ISDIR(status.st_mode) &&
         status.st_uid == ::geteuid();
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

}  // namespace kessoku::runtime
