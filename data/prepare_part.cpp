#include "data/prepare_part.h"

#include <fmt/format.h>

#include "base/error.h"
#include "base/file.h"
#include "data/store_manifest.h"

namespace kessoku::data {

using nlohmann::json;

namespace {

std::filesystem::path part_path(const PrepareOptions& options, const std::string& stage, int rank) {
  return options.store / fmt::format("part-{}-{:05}.json", stage, rank);
}

void write_part(const std::filesystem::path& path, const Part& part) {
  json skipped = json::array();
  for (const Skipped& entry : part.skipped) skipped.push_back(to_json(entry));
  write_file_atomically(path, dump({{"error", part.error},
                                    {"exit_code", part.exit_code},
                                    {"unchanged", part.unchanged},
                                    {"counts", {part.rows, part.encoded, part.reused}},
                                    {"skipped", skipped},
                                    {"warnings", part.warnings},
                                    {"shard", to_json(part.shard)}}));
}

Part read_part(const std::filesystem::path& path) {
  const json document = json::parse(read_file(path, uint64_t{1} << 30));
  Part part{.error = document.at("error"),
            .exit_code = document.at("exit_code"),
            .unchanged = document.at("unchanged")};
  part.rows = document.at("counts").at(0);
  part.encoded = document.at("counts").at(1);
  part.reused = document.at("counts").at(2);
  for (const json& entry : document.at("skipped")) part.skipped.push_back(skipped_from_json(entry));
  part.warnings = document.at("warnings").get<std::vector<std::string>>();
  part.shard = shard_from_json(document.at("shard"));
  return part;
}

Part failed(ExitCode code, const std::string& message) {
  return {.error = message, .exit_code = static_cast<int>(code)};
}

Part run(const std::function<Part()>& work) {
  try {
    return work();
  } catch (const Error& error) {
    return failed(error.exit_code(), error.what());
  } catch (const std::exception& error) {
    return failed(ExitCode::kInternal, fmt::format("preparing the store: {}", error.what()));
  }
}

}  // namespace

std::vector<Part> exchange(const PrepareOptions& options, const std::string& stage,
                           const std::function<Part()>& work) {
  const Part own = run(work);
  std::exception_ptr failure;  // thrown after the barriers, so that no rank waits for this one
  const auto guarded = [&](const auto& act) {
    try {
      act();
    } catch (...) {
      if (!failure) failure = std::current_exception();
    }
    if (options.barrier) options.barrier();
  };
  std::vector<Part> parts;
  guarded([&] { write_part(part_path(options, stage, options.rank), own); });
  guarded([&] {
    for (int rank = 0; rank < options.ranks; ++rank) {
      parts.push_back(read_part(part_path(options, stage, rank)));
    }
  });
  std::error_code ignored;
  std::filesystem::remove(part_path(options, stage, options.rank), ignored);
  for (const Part& part : parts) {
    if (!part.error.empty()) throw Error(static_cast<ExitCode>(part.exit_code), part.error);
  }
  if (failure) std::rethrow_exception(failure);
  return parts;
}

bool is_store_file(const std::string& name) {
  return name.starts_with("shard-") || name.starts_with("part-") || name.starts_with("store.json");
}

}  // namespace kessoku::data
