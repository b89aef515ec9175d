#include "runtime/checkpoint/checkpoint.h"

#include <ATen/core/grad_mode.h>

#include "base/error.h"
#include "base/json.h"
#include "model/weights/safetensors.h"
#include "runtime/checkpoint/checkpoint_folder.h"

namespace kessoku::runtime {

namespace {

namespace fs = std::filesystem;
using nlohmann::json;

void require_same(const RunIdentity& saved, const RunIdentity& now, const fs::path& checkpoint) {
  const auto differ = [&](const std::string& what, const auto& before, const auto& after) {
    throw UsageError(fmt::format("{}: {} was {}, now it is {}: a run goes on only as it began",
                                 checkpoint.string(), what, before, after));
  };
  if (saved.seed != now.seed) differ("seed", saved.seed, now.seed);
  if (saved.global_batch != now.global_batch)
    differ("train.global_batch", saved.global_batch, now.global_batch);
}

/// The ranges of the flat layout that a shard's tensors hold, one after the other.
std::vector<Range> ranges_of(const model::SafetensorsFile& shard) {
  const auto found = shard.metadata().find("ranges");
  if (found == shard.metadata().end())
    throw DataError(fmt::format("{}: its ranges are missing", shard.path().string()));
  std::vector<Range> ranges;
  for (const json& range : parse_json(found->second, shard.path().string()))
    ranges.push_back({range.at(0).get<int64_t>(), range.at(1).get<int64_t>()});
  return ranges;
}

/// Each tensor must hold what the ranges say.
void require_fit(const model::SafetensorsFile& shard, const std::vector<Range>& ranges) {
  int64_t numel = 0;
  for (const Range& range : ranges) {
    if (range.begin < 0 || range.end < range.begin || range.end > (int64_t{1} << 40))
      throw DataError(fmt::format("{}: its ranges are damaged", shard.path().string()));
    numel += range.size();
  }
  for (const std::string& name : shard.names()) {
    if (shard.entry(name).shape != std::vector<int64_t>{numel} ||
        shard.entry(name).dtype != at::kFloat)
      throw DataError(fmt::format("{}: tensor \"{}\" does not have the {} elements of its ranges",
                                  shard.path().string(), name, numel));
  }
}

/// `--allow-change optimizer.name` cannot make up what the other optimizer did not keep.
void require_moment(const model::SafetensorsFile& shard, const std::string& name,
                    const fs::path& checkpoint) {
  if (shard.contains(name)) return;
  throw UsageError(
      fmt::format("{}: its optimizer kept no {}, which optimizer.name needs: change it back, or "
                  "begin a new run with model.path = \"{}\"",
                  checkpoint.string(), name, checkpoint.string()));
}

/// Copies what the `from` ranges, held by `source` one after the other, share with the `to` ranges,
/// held by `target` likewise. Both ascend.
void copy_shared(const at::Tensor& source, const std::vector<Range>& from, at::Tensor target,
                 const std::vector<Range>& to) {
  int64_t source_offset = 0;
  for (const Range& s : from) {
    int64_t target_offset = 0;
    for (const Range& t : to) {
      const int64_t begin = std::max(s.begin, t.begin), end = std::min(s.end, t.end);
      if (begin < end) {
        target.narrow(0, target_offset + begin - t.begin, end - begin)
            .copy_(source.narrow(0, source_offset + begin - s.begin, end - begin));
      }
      target_offset += t.size();
    }
    source_offset += s.size();
  }
}

}  // namespace

json layout_of(const FlatParameters& flat) {
  json layout = json::array();
  for (const FlatRange& range : flat.ranges())
    layout.push_back({range.name, range.offset, range.numel});
  return layout;
}

void load_checkpoint(const fs::path& checkpoint, const RunIdentity& identity, Trainer& trainer) {
  const json manifest = read_checkpoint_manifest(checkpoint);
  try {
    require_same({manifest.at("seed"), manifest.at("global_batch")}, identity, checkpoint);
    if (manifest.at("layout") != layout_of(trainer.flat())) {
      throw DataError(
          fmt::format("{}: the parameters are not those of this model, train.target and "
                      "train.clip_skip",
                      checkpoint.string()));
    }
    const at::NoGradGuard no_grad;
    const int shards = manifest.at("shards").get<int>();
    TrainerState state = trainer.state();
    const std::vector<Range> all{{0, trainer.flat().values().numel()}};
    for (int shard = 0; shard < shards; ++shard) {
      const model::SafetensorsFile file(checkpoint / "state" / state_shard_name(shard, shards));
      const std::vector<Range> ranges = ranges_of(file);
      const at::Tensor weights = file.tensor("parameters");
      require_fit(file, ranges);
      copy_shared(weights, ranges, trainer.flat().values(), all);
      for (size_t i = 0; i < state.owned.size(); ++i)
        copy_shared(weights, ranges, state.weights[i], {state.owned[i]});
      for (const model::Parameter& moment : state.moments) {
        require_moment(file, moment.name, checkpoint);
        copy_shared(file.tensor(moment.name), ranges, moment.tensor, state.owned);
      }
      if (state.ema.defined()) {
        // A run that turns EMA on in its second half averages from there.
        copy_shared(file.tensor(file.contains("ema") ? "ema" : "parameters"), ranges, state.ema,
                    state.owned);
      }
    }
    state.steps = manifest.at("step").get<uint64_t>();
    state.optimizer_steps = manifest.value("optimizer_steps", state.steps);
    state.scaler.restore(manifest.at("loss_scale").get<double>(),
                         manifest.at("loss_scale_good_steps").get<uint64_t>());
    trainer.resume_at(state);
  } catch (const json::exception& error) {
    throw DataError(
        fmt::format("{}: state/run.json is damaged: {}", checkpoint.string(), error.what()));
  }
}

}  // namespace kessoku::runtime
