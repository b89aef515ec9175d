#include "runtime/checkpoint/checkpoint_folder.h"

#include <algorithm>

#include "base/checksum.h"
#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "runtime/checkpoint/checkpoint_removal.h"
#include "runtime/checkpoint/latest_link.h"

namespace kessoku::runtime {

namespace fs = std::filesystem;
using nlohmann::json;

namespace {

/// XXH3 of bytes of the file. What has been read is let go: of a large model it would not fit
/// beside it.
uint64_t checksum_of(const MappedFile& file, std::span<const std::byte> bytes) {
  constexpr size_t kChunk = size_t{64} << 20;
  Checksummer sum;
  for (auto rest = bytes; !rest.empty();) {
    const auto chunk = rest.first(std::min(kChunk, rest.size()));
    sum.add(chunk);
    file.release(chunk);
    rest = rest.subspan(chunk.size());
  }
  return sum.value();
}

/// Of a manifest but for the checksum itself.
std::string own_checksum(const json& manifest) {
  const std::string text = manifest.dump();
  return to_hex(checksum(std::as_bytes(std::span(text))));
}

void fsync_folders(const fs::path& folder) {
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    if (entry.is_directory()) fsync_path(entry.path());
  }
  fsync_path(folder);
}

constexpr std::string_view kPrefix = "step-", kUnfinished = ".tmp", kDiverged = ".diverged",
                           kUnverified = ".unverified";

/// The step of a folder "step-NNNNNNNN" + `suffix`; nothing for other names.
std::optional<uint64_t> step_in(const std::string& name, std::string_view suffix = "") {
  if (!name.starts_with(kPrefix) || !name.ends_with(suffix)) return std::nullopt;
  if (name.size() <= kPrefix.size() + suffix.size()) return std::nullopt;
  const std::string digits =
      name.substr(kPrefix.size(), name.size() - kPrefix.size() - suffix.size());
  const bool is_number = digits.size() <= 18 && std::ranges::all_of(digits, [](unsigned char c) {
                           return std::isdigit(c) != 0;
                         });
  return is_number ? std::optional(std::stoull(digits)) : std::nullopt;
}

/// Folders, with their steps, by what `step_of` says of a name.
template <typename StepOf>
std::vector<std::pair<uint64_t, fs::path>> find_folders(const fs::path& run,
                                                        const StepOf& step_of) {
  std::vector<std::pair<uint64_t, fs::path>> found;
  std::error_code absent;
  for (const auto& entry : fs::directory_iterator(checkpoints_of(run), absent)) {
    if (entry.is_symlink(absent) || !entry.is_directory(absent)) continue;
    if (const std::optional<uint64_t> step = step_of(entry.path()))
      found.emplace_back(*step, entry.path());
  }
  std::ranges::sort(found, std::greater{});
  return found;
}

/// What was a link until somebody copied the run to where there are none, or with -L.
std::optional<uint64_t> step_of_copy(const fs::path& folder) {
  if (folder.filename() != "latest") return std::nullopt;
  try {
    return read_checkpoint_manifest(folder).at("step").get<uint64_t>();
  } catch (const std::exception&) {
    return std::nullopt;
  }
}

/// Makes room for a checkpoint of that name. What is not ours in an older one of it stays, under
/// another name.
void clear_place(const fs::path& place) {
  if (!fs::exists(place) || remove_checkpoint(place)) return;
  for (int number = 1;; ++number) {
    const fs::path aside = place.string() + fmt::format(".others-{}", number);
    if (fs::exists(aside)) continue;
    fs::rename(place, aside);
    log_warning("{}: what else was in it is now {}", place.string(), aside.string());
    return;
  }
}

/// Files stay below the checkpoint, whatever the manifest says.
fs::path listed_file(const fs::path& checkpoint, const std::string& name) {
  const fs::path file = fs::path(name).lexically_normal();
  if (file.is_absolute() || file.empty() || *file.begin() == "..")
    throw DataError(
        fmt::format("{}: its manifest names a file \"{}\" elsewhere", checkpoint.string(), name));
  return checkpoint / file;
}

FilePart part_of(const json& entry) {
  const auto bytes = entry.at("bytes").get<uint64_t>();
  return {entry.at("file").get<std::string>(), entry.value("size", bytes),
          entry.value("begin", uint64_t{0}), bytes, entry.at("xxh3").get<std::string>()};
}

void verify_part(const fs::path& checkpoint, const FilePart& part) {
  const fs::path path = listed_file(checkpoint, part.file);
  if (!fs::is_regular_file(path))
    throw DataError(fmt::format("{}: is missing from the checkpoint", path.string()));
  const MappedFile file(path);
  const uint64_t size = file.bytes().size();
  if (size != part.size || part.begin > size || part.bytes > size - part.begin) {
    throw DataError(fmt::format("{}: has {} bytes, the checkpoint's manifest says {}",
                                path.string(), size, part.size));
  }
  if (to_hex(checksum_of(file, file.bytes().subspan(part.begin, part.bytes))) != part.xxh3) {
    throw DataError(fmt::format(
        "{}: does not have the checksum that the checkpoint's manifest gives", path.string()));
  }
}

}  // namespace

fs::path checkpoints_of(const fs::path& run) { return run / "checkpoints"; }

std::string checkpoint_name(uint64_t step) { return fmt::format("step-{:08}", step); }

std::string state_shard_name(int index, int shards) {
  return fmt::format("shard-{:05}-of-{:05}.safetensors", index, shards);
}

std::vector<fs::path> list_models(const fs::path& run) {
  // "step-…" sorts after "latest": of two of a step it comes first.
  std::vector<fs::path> models;
  for (auto& [step, path] : find_folders(run, [](const fs::path& folder) {
         const std::optional<uint64_t> step = step_in(folder.filename());
         return step ? step : step_of_copy(folder);
       }))
    models.push_back(std::move(path));
  return models;
}

std::vector<fs::path> list_checkpoints(const fs::path& run) {
  std::vector<fs::path> checkpoints = list_models(run);
  std::erase_if(checkpoints, [](const fs::path& checkpoint) {
    std::error_code unknown;
    return !fs::is_directory(checkpoint / "state", unknown);
  });
  return checkpoints;
}

json read_checkpoint_manifest(const fs::path& checkpoint) {
  const fs::path file = checkpoint / "state" / "run.json";
  if (!fs::exists(file)) {
    throw UsageError(
        fmt::format("{}: no checkpoint (state/run.json is not there)", checkpoint.string()));
  }
  try {
    json manifest = parse_json(read_file(file), file.string());
    const int format = manifest.at("format").get<int>();
    if (format > kCheckpointFormat) {
      throw DataError(
          fmt::format("{}: format {} was written by a newer kessoku", file.string(), format));
    }
    if (format < kOldestCheckpointFormat) {
      throw DataError(fmt::format(
          "{}: format {} was written by an older kessoku; the folder around it can be model.path "
          "of a new run",
          file.string(), format));
    }
    if (format >= 3) {
      const std::string told = manifest.at("xxh3").get<std::string>();
      manifest.erase("xxh3");
      if (own_checksum(manifest) != told)
        throw DataError(fmt::format("{}: does not have its checksum", file.string()));
    }
    return manifest;
  } catch (const json::exception& error) {
    throw DataError(fmt::format("{}: damaged: {}", file.string(), error.what()));
  }
}

uint64_t checkpoint_step(const fs::path& checkpoint) {
  const std::optional<uint64_t> step = step_in(checkpoint.filename());
  return step ? *step : step_of_copy(checkpoint).value_or(0);
}

void write_checkpoint_manifest(const fs::path& checkpoint, const json& manifest) {
  json with_checksum = manifest;
  with_checksum["xxh3"] = own_checksum(manifest);
  write_file_atomically(checkpoint / "state" / "run.json", with_checksum.dump(1) + "\n");
}

void verify_checkpoint(const fs::path& checkpoint, int share, int shares) {
  const json manifest = read_checkpoint_manifest(checkpoint);
  try {
    std::vector<FilePart> parts;
    for (const json& entry : manifest.at("files")) parts.push_back(part_of(entry));
    uint64_t all = 0, before = 0;
    for (const FilePart& part : parts) all += part.bytes;
    for (const FilePart& part : parts) {
      // The share that the part's middle lies in.
      const double middle = static_cast<double>(before) + 0.5 * static_cast<double>(part.bytes);
      const double place = all == 0 ? 0 : middle / static_cast<double>(all) * shares;
      if (static_cast<int>(std::min(place, shares - 1.0)) == share) verify_part(checkpoint, part);
      before += part.bytes;
    }
  } catch (const json::exception& error) {
    throw DataError(
        fmt::format("{}: state/run.json is damaged: {}", checkpoint.string(), error.what()));
  }
}

json to_json(const FilePart& part) {
  return {{"file", part.file},
          {"size", part.size},
          {"begin", part.begin},
          {"bytes", part.bytes},
          {"xxh3", part.xxh3}};
}

FilePart describe_checkpoint_file(const fs::path& checkpoint, const fs::path& file) {
  const MappedFile mapped(file);
  const uint64_t size = mapped.bytes().size();
  return {fs::relative(file, checkpoint).generic_string(), size, 0, size,
          to_hex(checksum_of(mapped, mapped.bytes()))};
}

std::string commit_checkpoint(const fs::path& run, const fs::path& beside, const std::string& name,
                              const json& manifest) {
  const fs::path checkpoints = checkpoints_of(run);
  write_checkpoint_manifest(beside, manifest);
  fsync_folders(beside);
  // After a power cut the log must reach as far as the checkpoint.
  if (fs::exists(run / "log.jsonl")) fsync_path(run / "log.jsonl");
  clear_place(checkpoints / name);
  fs::rename(beside, checkpoints / name);
  fsync_path(checkpoints);
  return point_latest_at(checkpoints, name);
}

fs::path set_aside(const fs::path& checkpoint, Aside why) {
  fs::path aside =
      checkpoint.string() + std::string(why == Aside::kDiverged ? kDiverged : kUnverified);
  clear_place(aside);
  fs::rename(checkpoint, aside);
  return aside;
}

void remove_unfinished_checkpoints(const fs::path& run) {
  std::error_code ignored;
  for (const auto& [step, folder] : find_folders(
           run, [](const fs::path& folder) { return step_in(folder.filename(), kUnfinished); }))
    fs::remove_all(folder, ignored);
}

void remove_old_checkpoints(const fs::path& run, uint64_t keep, uint64_t milestone) {
  const std::vector<fs::path> all = list_checkpoints(run);
  for (size_t i = keep; keep > 0 && i < all.size(); ++i) {
    if (milestone > 0 && checkpoint_step(all[i]) % milestone == 0) continue;
    if (step_in(all[i].filename())) remove_checkpoint(all[i]);
  }
  for (const std::string_view suffix : {kDiverged, kUnverified}) {
    for (const auto& [step, folder] : find_folders(
             run, [&](const fs::path& folder) { return step_in(folder.filename(), suffix); })) {
      if (!all.empty() && step <= checkpoint_step(all.front())) remove_checkpoint(folder);
    }
  }
}

}  // namespace kessoku::runtime
