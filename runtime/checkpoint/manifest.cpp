#include "runtime/checkpoint/manifest.h"

#include <nlohmann/json.hpp>

#include "runtime/checkpoint/checkpoint_folder.h"
#include "runtime/checkpoint/resume_changes.h"
#include "runtime/training/reproducibility.h"

namespace kessoku::runtime {

using nlohmann::json;

json manifest_of(const RunConfig& config, const RunIdentity& identity, const data::Store& store,
                 Trainer& trainer, const Snapshot& snapshot, int ranks) {
  return {{"format", kCheckpointFormat},
          {"step", snapshot.step()},
          {"draws", snapshot.step() * identity.global_batch},
          {"seed", identity.seed},
          {"global_batch", identity.global_batch},
          {"store", digests_json(store.digests())},
          {"optimizer_steps", snapshot.optimizer_steps()},
          {"loss_scale", snapshot.scaler().scale()},
          {"loss_scale_good_steps", snapshot.scaler().good_steps()},
          {"config", to_toml(config)},
          {"verified", false},
          {"world_size", ranks},
          {"arithmetic", arithmetic_of(trainer.flat().values().device())},
          {"shards", ranks},
          {"layout", layout_of(trainer.flat())}};
}

std::map<std::string, std::string> shard_metadata(const std::vector<Range>& ranges) {
  json listed = json::array();
  for (const Range& range : ranges) listed.push_back({range.begin, range.end});
  return {{"ranges", listed.dump()}};
}

}  // namespace kessoku::runtime
