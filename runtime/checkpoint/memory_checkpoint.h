#pragma once

#include <array>
#include <chrono>
#include <filesystem>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <optional>

#include "runtime/checkpoint/snapshot.h"

namespace kessoku::runtime {

/// Copies of the training state in a file system in memory (checkpoint.memory_folder), which
/// outlive the ranks: what a restart resumes from if it is later than the newest checkpoint. Every
/// rank writes its part of the state, as often as checkpoint.memory_share allows; the copy before
/// stays. With several hosts each part is also on another one (checkpoint.memory_on_peers), so that
/// a host may be lost. Training waits meanwhile, since there is nothing to do in the background but
/// to copy.
class MemoryCheckpoints {
 public:
  /// `describe` gives the manifest of a snapshot. The references must outlive this.
  MemoryCheckpoints(const RunConfig& config, std::filesystem::path folder,
                    Communicator& communicator,
                    std::function<nlohmann::json(Trainer&, const Snapshot&)> describe);

  /// Whether it is time for the next copy. Rank 0's clock decides.
  bool is_due() const;
  /// Makes a copy of the state after the last step. If the memory does not suffice, or a write
  /// fails, there are none from then on, and a warning says so. Collective.
  void copy(Trainer& trainer);

 private:
  using Clock = std::chrono::steady_clock;
  /// A rank's part of the last checkpoints, as this host keeps it.
  struct Parts {
    int rank = 0;
    std::array<std::optional<std::filesystem::path>, 2> shards;  ///< the older one first
  };
  void begin(Trainer& trainer);
  bool fits(Trainer& trainer, bool on_peers) const;
  bool all_can(const std::function<void()>& work);
  void write(Trainer& trainer);
  bool exchange();
  std::filesystem::path make_room(Parts& parts, const std::filesystem::path& shard);
  void remove_before(const std::filesystem::path& checkpoint) const;

  std::filesystem::path folder_;
  double share_;  ///< of the time; 0: no copies
  bool on_peers_;
  Communicator& communicator_;
  std::function<nlohmann::json(Trainer&, const Snapshot&)> describe_;
  Snapshot snapshot_;
  bool tried_ = false;
  Clock::time_point last_ = Clock::now();              ///< the end of the last copy
  Clock::duration shortest_ = Clock::duration::max();  ///< that a copy took
  int distance_ = 0;  ///< in ranks, to whom this rank's parts are sent; 0: to nobody
  Parts own_, peers_;
  std::string part_;  ///< what was just written, as the checkpoint's manifest will have it
};

}  // namespace kessoku::runtime
