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

struct InspectArguments {
  std::string path, config;
  bool json = false, tensors = false, verify = false, captions = false;
  int threads = 0;
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

void add_inspect_command(CLI::App& app) {
  auto arguments = std::make_shared<InspectArguments>();
  CLI::App* command =
      app.add_subcommand("inspect", "Show what a store, model folder, weight file or run holds");
  command
      ->add_option("PATH", arguments->path,
                   "Store, model folder, checkpoint, run folder or weight file (.safetensors, "
                   ".ckpt, .pt, .bin)")
      ->required();
  command->add_option("--config", arguments->config,
                      "Model folder whose configs a lone weight file is compared with (default: "
                      "Stable Diffusion 1.5's)");
  command->add_flag("--tensors", arguments->tensors, "List all tensors of a weight file");
  command->add_flag("--verify", arguments->verify,
                    "Read a whole store, compare every row with its checksum, and name what is "
                    "damaged");
  command->add_flag("--captions", arguments->captions,
                    "List a store's images with the captions that it would train on");
  command->add_option("--threads", arguments->threads, "Threads of --verify (0: all cores)")
      ->check(CLI::NonNegativeNumber);
  command->add_flag("--json", arguments->json, "Print JSON");
  command->footer("Examples: kessoku inspect store --json, kessoku inspect store --verify");
  command->callback([arguments] {
    if (arguments->verify) {
      verify_store(arguments->path, arguments->threads, arguments->json);
      return;
    }
    if (arguments->captions) {
      print_captions(arguments->path, arguments->json);
      return;
    }
    const Inspection found = inspect(*arguments);
    if (arguments->json) {
      fmt::print("{}\n", dump(found.what));
    } else {
      found.print(found.what);
    }
  });
}

}  // namespace kessoku::launcher
