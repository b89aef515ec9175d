#include "runtime/checkpoint.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/zeros_like.h>

#include <nlohmann/json.hpp>

#include "base/checksum.h"
#include "base/error.h"
#include "base/file.h"
#include "model/safetensors.h"

namespace kessoku::runtime {

namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr int kFormat = 2;

std::string folder_name(uint64_t step) { return fmt::format("step-{:08}", step); }

std::string shard_name(int rank, int ranks) {
  return fmt::format("shard-{:05}-of-{:05}.safetensors", rank, ranks);
}

at::ScalarType weights_dtype(const RunConfig& config) {
  if (config.checkpoint.weights_dtype == "fp32") return at::kFloat;
  return config.checkpoint.weights_dtype == "bf16" ? at::kBFloat16 : at::kHalf;
}

json layout_of(const FlatParameters& flat) {
  json layout = json::array();
  for (const FlatRange& range : flat.ranges())
    layout.push_back({range.name, range.offset, range.numel});
  return layout;
}

/// Where each owned range stands in the flat layout; all that is written of a rank's own tensors.
json ranges_of(const AdamW& optimizer) {
  json ranges = json::array();
  for (const Range& range : optimizer.owned()) ranges.push_back({range.begin, range.end});
  return ranges;
}

void write_state_shard(const fs::path& file, Trainer& trainer) {
  AdamW& optimizer = trainer.optimizer();
  model::Parameters tensors{{"parameters", optimizer.own_weights()},
                            {"exp_avg", optimizer.exp_avg()},
                            {"exp_avg_sq", optimizer.exp_avg_sq()}};
  if (trainer.ema().defined()) tensors.push_back({"ema", trainer.ema()});
  model::write_safetensors(file, tensors, {{"ranges", ranges_of(optimizer).dump()}});
}

json describe_files(const fs::path& folder) {
  json files = json::array();
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    if (!entry.is_regular_file()) continue;
    const MappedFile file(entry.path());
    files.push_back({{"file", fs::relative(entry.path(), folder).generic_string()},
                     {"bytes", file.bytes().size()},
                     {"xxh3", to_hex(checksum(file.bytes()))}});
    fsync_path(entry.path());
  }
  return files;
}

void fsync_folders(const fs::path& folder) {
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    if (entry.is_directory()) fsync_path(entry.path());
  }
  fsync_path(folder);
}

/// A link is replaced by renaming another over it: readers see the old or the new one.
void point_latest_at(const fs::path& checkpoints, const std::string& name) {
  const fs::path beside = checkpoints / "latest.tmp";
  fs::remove(beside);
  fs::create_directory_symlink(name, beside);
  fs::rename(beside, checkpoints / "latest");
  fsync_path(checkpoints);
}

void remove_old(const fs::path& checkpoints, uint64_t keep) {
  std::vector<fs::path> all;
  for (const auto& entry : fs::directory_iterator(checkpoints)) {
    const std::string name = entry.path().filename();
    if (entry.is_directory() && !entry.is_symlink() && name.starts_with("step-") &&
        !name.ends_with(".tmp")) {
      all.push_back(entry.path());
    }
  }
  std::sort(all.begin(), all.end());
  for (size_t i = 0; keep > 0 && i + keep < all.size(); ++i) fs::remove_all(all[i]);
}

json read_manifest(const fs::path& checkpoint) {
  const fs::path file = checkpoint / "state" / "run.json";
  if (!fs::exists(file)) {
    throw UsageError(
        fmt::format("{}: no checkpoint (state/run.json is not there)", checkpoint.string()));
  }
  try {
    const json manifest = json::parse(read_file(file));
    const int format = manifest.at("format").get<int>();
    if (format > kFormat) {
      throw DataError(
          fmt::format("{}: format {} was written by a newer kessoku", file.string(), format));
    }
    if (format < kFormat) {
      throw DataError(
          fmt::format("{}: format {} was written by an older kessoku; its diffusers "
                      "folder can be model.path of a new run",
                      file.string(), format));
    }
    return manifest;
  } catch (const json::exception& error) {
    throw DataError(fmt::format("{}: damaged: {}", file.string(), error.what()));
  }
}

void verify_files(const fs::path& checkpoint, const json& files) {
  for (const json& entry : files) {
    const fs::path path = checkpoint / entry.at("file").get<std::string>();
    if (!entry.at("file").get<std::string>().starts_with("state/")) continue;
    const MappedFile file(path);
    if (file.bytes().size() != entry.at("bytes").get<uint64_t>() ||
        to_hex(checksum(file.bytes())) != entry.at("xxh3").get<std::string>()) {
      throw DataError(fmt::format(
          "{}: does not have the checksum that the checkpoint's manifest gives", path.string()));
    }
  }
}

void require_same(const RunIdentity& saved, const RunIdentity& now, const fs::path& checkpoint) {
  const auto differ = [&](const std::string& what, const auto& before, const auto& after) {
    throw UsageError(fmt::format("{}: {} was {}, now it is {}: a run goes on only as it began",
                                 checkpoint.string(), what, before, after));
  };
  if (saved.seed != now.seed) differ("seed", saved.seed, now.seed);
  if (saved.global_batch != now.global_batch)
    differ("train.global_batch", saved.global_batch, now.global_batch);
  if (saved.store_digest != now.store_digest)
    differ("the store's digest", saved.store_digest, now.store_digest);
}

/// The ranges of the flat layout that a shard's tensors hold, one after the other.
std::vector<Range> ranges_of(const model::SafetensorsFile& shard) {
  const auto found = shard.metadata().find("ranges");
  if (found == shard.metadata().end())
    throw DataError(fmt::format("{}: its ranges are missing", shard.path().string()));
  std::vector<Range> ranges;
  for (const json& range : json::parse(found->second))
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

std::optional<fs::path> latest_checkpoint(const fs::path& run) {
  const fs::path link = run / "checkpoints" / "latest";
  if (!fs::exists(link)) return std::nullopt;
  return fs::canonical(link);
}

uint64_t checkpoint_step(const fs::path& checkpoint) {
  return read_manifest(checkpoint).at("step").get<uint64_t>();
}

void write_checkpoint(const fs::path& run, const RunConfig& config, const RunIdentity& identity,
                      const model::StableDiffusion& model, Trainer& trainer,
                      Communicator& communicator) {
  const fs::path checkpoints = run / "checkpoints";
  const std::string name = folder_name(trainer.steps_done());
  const fs::path beside = checkpoints / (name + ".tmp");
  const bool first = communicator.rank() == 0;
  const int writers = config.optimizer.shard ? communicator.size() : 1;
  if (first) {
    fs::remove_all(beside);
    fs::create_directories(beside / "state");
  }
  communicator.barrier();
  if (communicator.rank() < writers) {
    write_state_shard(beside / "state" / shard_name(communicator.rank(), writers), trainer);
  }
  const at::Tensor published = trainer.published_values();
  if (first) {
    const BorrowedWeights borrowed(trainer.flat(), published);
    model::save_model(beside, model, weights_dtype(config));
  }
  communicator.barrier();
  if (first) {
    const json manifest{{"format", kFormat},
                        {"step", trainer.steps_done()},
                        {"draws", trainer.steps_done() * identity.global_batch},
                        {"seed", identity.seed},
                        {"global_batch", identity.global_batch},
                        {"store_digest", identity.store_digest},
                        {"world_size", communicator.size()},
                        {"shards", writers},
                        {"layout", layout_of(trainer.flat())},
                        {"files", describe_files(beside)}};
    write_file_atomically(beside / "state" / "run.json", manifest.dump(1) + "\n");
    fsync_folders(beside);
    fs::remove_all(checkpoints / name);
    fs::rename(beside, checkpoints / name);
    fsync_path(checkpoints);
    point_latest_at(checkpoints, name);
    remove_old(checkpoints, config.checkpoint.keep);
  }
  communicator.barrier();
}

void load_checkpoint(const fs::path& checkpoint, const RunIdentity& identity, Trainer& trainer) {
  const json manifest = read_manifest(checkpoint);
  try {
    require_same({manifest.at("seed"), manifest.at("global_batch"), manifest.at("store_digest")},
                 identity, checkpoint);
    if (manifest.at("layout") != layout_of(trainer.flat())) {
      throw DataError(
          fmt::format("{}: the parameters are not those of this model, train.target and "
                      "train.clip_skip",
                      checkpoint.string()));
    }
    verify_files(checkpoint, manifest.at("files"));
    const at::NoGradGuard no_grad;
    const int shards = manifest.at("shards").get<int>();
    AdamW& optimizer = trainer.optimizer();
    const std::vector<Range>& own = optimizer.owned();
    const std::vector<Range> all{{0, trainer.flat().values().numel()}};
    at::Tensor own_weights = at::zeros_like(optimizer.exp_avg());
    for (int shard = 0; shard < shards; ++shard) {
      const model::SafetensorsFile file(checkpoint / "state" / shard_name(shard, shards));
      const std::vector<Range> ranges = ranges_of(file);
      const at::Tensor weights = file.tensor("parameters");
      require_fit(file, ranges);
      copy_shared(weights, ranges, trainer.flat().values(), all);
      copy_shared(weights, ranges, own_weights, own);
      copy_shared(file.tensor("exp_avg"), ranges, optimizer.exp_avg(), own);
      copy_shared(file.tensor("exp_avg_sq"), ranges, optimizer.exp_avg_sq(), own);
      if (trainer.ema().defined()) {
        // A run that turns EMA on in its second half averages from there.
        copy_shared(file.tensor(file.contains("ema") ? "ema" : "parameters"), ranges, trainer.ema(),
                    own);
      }
    }
    optimizer.restore(manifest.at("step").get<uint64_t>(), own_weights);
  } catch (const json::exception& error) {
    throw DataError(
        fmt::format("{}: state/run.json is damaged: {}", checkpoint.string(), error.what()));
  }
}

}  // namespace kessoku::runtime
