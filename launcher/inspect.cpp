#include <cmath>

#include "base/error.h"
#include "launcher/commands.h"
#include "launcher/describe_model.h"
#include "launcher/describe_store.h"
#include "metrics/run_log.h"

namespace kessoku::launcher {

using nlohmann::json;
namespace fs = std::filesystem;

namespace {

json describe_run(const fs::path& path) {
  json result{{"step", 0}, {"draws", 0}, {"loss", nullptr}, {"checkpoints", json::array()}};
  if (fs::exists(path / "log.jsonl")) {
    const auto records = metrics::read_run_log(path / "log.jsonl");
    if (!records.empty()) {
      result["step"] = records.back().step;
      result["draws"] = records.back().draws;
      if (std::isfinite(records.back().loss)) result["loss"] = records.back().loss;
    }
  }
  if (fs::is_directory(path / "checkpoints")) {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(path / "checkpoints")) {
      const std::string name = entry.path().filename().string();
      if (name.starts_with("step-") && name.find('.') == std::string::npos) names.push_back(name);
    }
    std::ranges::sort(names);
    result["checkpoints"] = names;
  }
  return result;
}

void print_run(const json& run) {
  fmt::print("step {}, {} draws, loss {}\n", run["step"].get<uint64_t>(),
             run["draws"].get<uint64_t>(),
             run["loss"].is_null() ? "unknown" : fmt::format("{:.5f}", run["loss"].get<double>()));
  for (const json& checkpoint : run["checkpoints"])
    fmt::print("  checkpoints/{}\n", checkpoint.get<std::string>());
}

/// What a path is, told by the file that makes it so.
struct Inspection {
  json what;
  std::function<void(const json&)> print;
};

Inspection inspect(const InspectArguments& arguments) {
  const fs::path path = arguments.path;
  if (!fs::exists(path))
    throw UsageError(fmt::format("inspect: {}: no such file or folder", path.string()));
  if (fs::is_regular_file(path)) {
    return {describe_weight_file(path, arguments.config),
            [&arguments](const json& weights) { print_weight_file(weights, arguments.tensors); }};
  }
  if (!arguments.config.empty()) {
    throw UsageError("inspect: --config is for lone weight files, not for folders");
  }
  if (fs::exists(path / "store.json")) {
    return {describe_store(path), [path](const json& store) {
              fmt::print("{} examples, {} skipped\n", store["examples"].get<uint64_t>(),
                         store["skipped"].size());
              print_store_format(path);
              print_store(store, SIZE_MAX);
              for (const json& entry : store["skipped"])
                fmt::print("  skipped: {}: {}\n", entry["source"].get<std::string>(),
                           entry["reason"].get<std::string>());
              for (const json& warning : store["warnings"])
                fmt::print("  warning: {}\n", warning.get<std::string>());
            }};
  }
  if (fs::exists(path / "model_index.json") || fs::exists(path / "config.json"))
    return {describe_model_folder(path), print_model_folder};
  if (fs::exists(path / "log.jsonl") || fs::is_directory(path / "checkpoints"))
    return {describe_run(path), print_run};
  throw UsageError(
      fmt::format("inspect: {}: neither a store (store.json), a model folder or checkpoint "
                  "(model_index.json) nor a run "
                  "folder (log.jsonl)",
                  path.string()));
}

}  // namespace

void run(const InspectArguments& arguments) {
  if (arguments.verify) return verify_store(arguments.path, arguments.threads, arguments.json);
  if (arguments.captions) return print_captions(arguments.path, arguments.json);
  const Inspection found = inspect(arguments);
  if (arguments.json) {
    fmt::print("{}\n", dump(found.what));
  } else {
    found.print(found.what);
  }
}

}  // namespace kessoku::launcher
