#include <cmath>

#include "base/error.h"
#include "launcher/commands.h"
#include "launcher/describe_store.h"
#include "metrics/run_log.h"
#include "model/safetensors.h"

namespace kessoku::launcher {

using nlohmann::json;
namespace fs = std::filesystem;

namespace {

std::string short_name(at::ScalarType dtype) {
  switch (dtype) {
    case at::kHalf:
      return "f16";
    case at::kBFloat16:
      return "bf16";
    case at::kFloat:
      return "f32";
    case at::kDouble:
      return "f64";
    case at::kLong:
      return "i64";
    default:
      return c10::toString(dtype);
  }
}

json describe_weights(const fs::path& path) {
  const model::SafetensorsFile file(path);
  json result{{"file", path.filename().string()},
              {"tensors", json::array()},
              {"metadata", file.metadata()}};
  int64_t parameters = 0;
  for (const std::string& name : file.names()) {
    const at::Tensor tensor = file.tensor(name);
    parameters += tensor.numel();
    result["tensors"].push_back({{"name", name},
                                 {"dtype", short_name(tensor.scalar_type())},
                                 {"shape", tensor.sizes().vec()}});
  }
  result["parameters"] = parameters;
  return result;
}

json describe_component(const fs::path& folder) {
  json result{{"tensors", 0}, {"parameters", 0}, {"dtypes", json::object()}};
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.path().extension() != ".safetensors") continue;
    const json weights = describe_weights(entry.path());
    result["tensors"] = result["tensors"].get<size_t>() + weights["tensors"].size();
    result["parameters"] =
        result["parameters"].get<int64_t>() + weights["parameters"].get<int64_t>();
    for (const json& tensor : weights["tensors"]) {
      const auto dtype = tensor["dtype"].get<std::string>();
      result["dtypes"][dtype] = result["dtypes"].value(dtype, 0) + 1;
    }
  }
  return result;
}

/// A diffusers folder; a checkpoint is one too.
json describe_model(const fs::path& path) {
  json result{{"components", json::object()}};
  for (const char* name : {"unet", "text_encoder", "vae"}) {
    if (!fs::is_directory(path / name)) {
      throw DataError(fmt::format("{}: no folder {} beside model_index.json", path.string(), name));
    }
    result["components"][name] = describe_component(path / name);
    if (result["components"][name]["tensors"] == 0) {
      throw DataError(fmt::format("{}: holds no .safetensors file", (path / name).string()));
    }
  }
  return result;
}

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

std::string shape_text(const json& shape) {
  std::vector<int64_t> sides = shape;
  return fmt::format("[{}]", fmt::join(sides, ", "));
}

void print_weights(const json& weights) {
  fmt::print("{} tensors, {} numbers\n", weights["tensors"].size(),
             weights["parameters"].get<int64_t>());
  for (const json& tensor : weights["tensors"]) {
    fmt::print("  {:<72} {:<5} {}\n", tensor["name"].get<std::string>(),
               tensor["dtype"].get<std::string>(), shape_text(tensor["shape"]));
  }
  for (const auto& [key, value] : weights["metadata"].items())
    fmt::print("  {}: {}\n", key, value.get<std::string>());
}

void print_model(const json& model) {
  fmt::print("  component       tensors    parameters  stored as\n");
  for (const auto& [name, component] : model["components"].items()) {
    std::vector<std::string> dtypes;
    for (const auto& [dtype, count] : component["dtypes"].items()) dtypes.push_back(dtype);
    fmt::print("  {:<14}{:>9}{:>14}  {}\n", name, component["tensors"].get<size_t>(),
               component["parameters"].get<int64_t>(), fmt::join(dtypes, ", "));
  }
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

Inspection inspect(const fs::path& path) {
  if (!fs::exists(path))
    throw UsageError(fmt::format("inspect: {}: no such file or folder", path.string()));
  if (fs::is_regular_file(path)) {
    if (path.extension() == ".safetensors") return {describe_weights(path), print_weights};
    throw UsageError(fmt::format("inspect: {}: not a .safetensors file", path.string()));
  }
  if (fs::exists(path / "store.json")) {
    return {describe_store(path), [](const json& store) {
              fmt::print("{} examples, {} skipped\n", store["examples"].get<uint64_t>(),
                         store["skipped"].size());
              print_store(store, SIZE_MAX);
            }};
  }
  if (fs::exists(path / "model_index.json")) return {describe_model(path), print_model};
  if (fs::exists(path / "log.jsonl") || fs::is_directory(path / "checkpoints"))
    return {describe_run(path), print_run};
  throw UsageError(
      fmt::format("inspect: {}: neither a store (store.json), a model folder or checkpoint "
                  "(model_index.json) nor a run "
                  "folder (log.jsonl)",
                  path.string()));
}

struct InspectArguments {
  std::string path;
  bool json = false;
};

}  // namespace

void add_inspect_command(CLI::App& app) {
  auto arguments = std::make_shared<InspectArguments>();
  CLI::App* command =
      app.add_subcommand("inspect", "Show what a store, model folder, weight file or run holds");
  command
      ->add_option("PATH", arguments->path,
                   "Store, model folder, checkpoint, run folder or .safetensors file")
      ->required();
  command->add_flag("--json", arguments->json, "Print JSON");
  command->footer("Example: kessoku inspect store --json");
  command->callback([arguments] {
    const Inspection found = inspect(arguments->path);
    if (arguments->json) {
      fmt::print("{}\n", dump(found.what));
    } else {
      found.print(found.what);
    }
  });
}

}  // namespace kessoku::launcher
