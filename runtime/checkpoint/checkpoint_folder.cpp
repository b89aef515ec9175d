#include "runtime/checkpoint/checkpoint_folder.h"

#include <algorithm>

#include "base/checksum.h"
#include "base/error.h"
#include "base/file.h"
#include "base/json.h"

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

/// A link is replaced by renaming another over it: readers see the old or the new one.
void point_latest_at(const fs::path& checkpoints, const std::string& name) {
  const fs::path beside = checkpoints / "latest.tmp";
  fs::remove(beside);
  fs::create_directory_symlink(name, beside);
  fs::rename(beside, checkpoints / "latest");
  fsync_path(checkpoints);
}

constexpr std::string_view kPrefix = "step-";

bool is_complete_checkpoint(const fs::directory_entry& entry) {
  const std::string name = entry.path().filename();
  if (!entry.is_directory() || entry.is_symlink() || !name.starts_with(kPrefix)) return false;
  const std::string digits = name.substr(kPrefix.size());
  return !digits.empty() && digits.size() <= 18 &&
         std::ranges::all_of(digits, [](unsigned char c) { return std::isdigit(c) != 0; });
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

std::vector<fs::path> list_checkpoints(const fs::path& run) {
  std::vector<std::pair<uint64_t, fs::path>> found;
  std::error_code absent;
  for (const auto& entry : fs::directory_iterator(checkpoints_of(run), absent)) {
    if (is_complete_checkpoint(entry))
      found.emplace_back(checkpoint_step(entry.path()), entry.path());
  }
  std::ranges::sort(found, std::greater{});
  std::vector<fs::path> checkpoints;
  for (auto& [step, path] : found) checkpoints.push_back(std::move(path));
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
  return std::stoull(checkpoint.filename().string().substr(kPrefix.size()));
}

void verify_checkpoint(const fs::path& checkpoint) {
  const json manifest = read_checkpoint_manifest(checkpoint);
  try {
    for (const json& entry : manifest.at("files")) verify_part(checkpoint, part_of(entry));
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

void commit_checkpoint(const fs::path& run, const fs::path& beside, const std::string& name,
                       const json& manifest) {
  const fs::path checkpoints = checkpoints_of(run);
  json with_checksum = manifest;
  with_checksum["xxh3"] = own_checksum(manifest);
  write_file_atomically(beside / "state" / "run.json", with_checksum.dump(1) + "\n");
  fsync_folders(beside);
  // After a power cut the log must reach as far as the checkpoint.
  if (fs::exists(run / "log.jsonl")) fsync_path(run / "log.jsonl");
  fs::remove_all(checkpoints / name);
  fs::rename(beside, checkpoints / name);
  fsync_path(checkpoints);
  point_latest_at(checkpoints, name);
}

void remove_unfinished_checkpoints(const fs::path& run) {
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(checkpoints_of(run), ignored)) {
    const std::string name = entry.path().filename();
    if (name.starts_with("step-") && name.ends_with(".tmp")) fs::remove_all(entry.path(), ignored);
  }
}

void remove_old_checkpoints(const fs::path& run, uint64_t keep, uint64_t milestone) {
  if (keep == 0) return;
  const std::vector<fs::path> all = list_checkpoints(run);
  for (size_t i = keep; i < all.size(); ++i) {
    if (milestone > 0 && checkpoint_step(all[i]) % milestone == 0) continue;
    fs::remove_all(all[i]);
  }
}

}  // namespace kessoku::runtime
