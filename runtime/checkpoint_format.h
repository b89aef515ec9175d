#pragma once

namespace kessoku::runtime {

/// Of state/run.json and the state shards. 1: one range a shard.
inline constexpr int kCheckpointFormat = 2;

}  // namespace kessoku::runtime
