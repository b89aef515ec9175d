#include "launcher/describe_model.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "model/stable_diffusion/model_files.h"
#include "model/stable_diffusion/weight_layout.h"

namespace kessoku::launcher {

using nlohmann::json;
namespace fs = std::filesystem;

namespace {

constexpr size_t kShown = 5;  ///< lines of a list of problems

template <typename NetworkModel, typename Config>
json describe_network(const model::StoredNetwork<Config>& stored) {
  const NetworkModel network(stored.config, at::kMeta);
  const model::WeightProblems problems =
      model::compare_weights(network.parameters(), stored.weights);
  json result{{"tensors", stored.weights.tensors.size()},
              {"parameters", 0},
              {"dtypes", json::object()},
              {"missing", problems.missing},
              {"mismatched", problems.mismatched},
              {"unexpected", problems.unexpected}};
  int64_t parameters = 0;
  for (const auto& [name, place] : stored.weights.tensors) {
    const model::WeightEntry& entry = place.file->entry(place.name);
    int64_t count = 1;
    for (const int64_t side : entry.shape) count *= side;
    parameters += count;
    const std::string dtype = model::short_name(entry.dtype);
    result["dtypes"][dtype] = result["dtypes"].value(dtype, 0) + 1;
  }
  result["parameters"] = parameters;
  return result;
}

json describe_networks(const model::ModelFiles& stored) {
  json components = json::object();
  if (stored.unet) components["unet"] = describe_network<model::UNet>(*stored.unet);
  if (stored.text_encoder) {
    components["text_encoder"] = describe_network<model::TextEncoder>(*stored.text_encoder);
  }
  if (stored.vae) components["vae"] = describe_network<model::Vae>(*stored.vae);
  return components;
}

bool is_complete(const json& components) {
  return std::ranges::all_of(components, [](const json& component) {
    return component["missing"].empty() && component["mismatched"].empty() &&
           component["unexpected"].empty();
  });
}

json describe_tensors(const model::WeightFile& file) {
  json tensors = json::array();
  for (const auto& [name, entry] : file.entries()) {
    tensors.push_back(
        {{"name", name}, {"dtype", model::short_name(entry.dtype)}, {"shape", entry.shape}});
  }
  return tensors;
}

int64_t count_numbers(const model::WeightFile& file) {
  int64_t total = 0;
  for (const auto& [name, entry] : file.entries()) {
    int64_t count = 1;
    for (const int64_t side : entry.shape) count *= side;
    total += count;
  }
  return total;
}

std::string shape_text(const json& shape) {
  const std::vector<int64_t> sides = shape;
  return fmt::format("[{}]", fmt::join(sides, ", "));
}

void print_components(const json& components) {
  fmt::print("  component       tensors    parameters  stored as\n");
  for (const auto& [name, component] : components.items()) {
    std::vector<std::string> dtypes;
    for (const auto& [dtype, count] : component["dtypes"].items()) dtypes.push_back(dtype);
    fmt::print("  {:<14}{:>9}{:>14}  {}\n", name, component["tensors"].get<size_t>(),
               component["parameters"].get<int64_t>(), fmt::join(dtypes, ", "));
  }
  for (const json& component : components) {
    for (const char* kind : {"missing", "mismatched", "unexpected"}) {
      const std::vector<std::string> lines = component[kind];
      for (size_t i = 0; i < std::min(lines.size(), kShown); ++i) fmt::print("  {}\n", lines[i]);
      if (lines.size() > kShown) fmt::print("  … and {} more {}\n", lines.size() - kShown, kind);
    }
  }
}

void print_tensors(const json& tensors) {
  for (const json& tensor : tensors) {
    fmt::print("  {:<72} {:<5} {}\n", tensor["name"].get<std::string>(),
               tensor["dtype"].get<std::string>(), shape_text(tensor["shape"]));
  }
}

void print_metadata(const json& metadata) {
  constexpr size_t kMaxText = 100;
  for (const auto& [key, value] : metadata.items()) {
    std::string text = value.get<std::string>();
    if (text.size() > kMaxText) text = text.substr(0, kMaxText) + " …";
    fmt::print("  {}: {}\n", key, text);
  }
}

}  // namespace

json describe_model_folder(const fs::path& folder) {
  const model::ModelFiles stored = model::open_model({.path = folder});
  const json components = describe_networks(stored);
  const bool whole = fs::exists(folder / "model_index.json");
  if (whole) {
    for (const char* name : {"unet", "text_encoder", "vae"}) {
      if (components.contains(name)) continue;
      throw DataError(
          fmt::format("{}: no folder {} beside model_index.json", folder.string(), name));
    }
  }
  return {{"kind", whole ? "diffusers model" : "diffusers network"},
          {"components", components},
          {"complete", is_complete(components)}};
}

json describe_weight_file(const fs::path& path, const fs::path& config) {
  const model::WeightFile file = model::open_weight_file(path);
  const model::WeightLayout layout = model::find_layout(file);
  json components = json::object();
  size_t known = 0;
  if (layout.foreign.empty() && !layout.empty()) {
    components = describe_networks(model::open_model({.path = path, .config = config}));
    for (const json& component : components) known += component["tensors"].get<size_t>();
  }
  const size_t total = file.entries().size();
  return {{"file", path.filename().string()},
          {"kind", layout.describe()},
          {"format", file.format()},
          {"bytes", fs::file_size(path)},
          {"components", components},
          {"complete", !components.empty() && is_complete(components)},
          {"ema", layout.ema},
          {"other_tensors", total - std::min(known, total)},
          {"tensors", describe_tensors(file)},
          {"parameters", count_numbers(file)},
          {"metadata", file.metadata()}};
}

void print_model_folder(const json& model) { print_components(model["components"]); }

void print_weight_file(const json& weights, bool every_tensor) {
  fmt::print("{}: {}, {}, {} tensors, {} numbers\n", weights["file"].get<std::string>(),
             weights["kind"].get<std::string>(), weights["format"].get<std::string>(),
             weights["tensors"].size(), weights["parameters"].get<int64_t>());
  if (!weights["components"].empty()) {
    print_components(weights["components"]);
    if (weights["ema"].get<bool>()) {
      fmt::print("  moving averages (EMA) of the UNet's weights, which --ema takes\n");
    }
    if (weights["other_tensors"].get<size_t>() > 0) {
      fmt::print("  other tensors: {}\n", weights["other_tensors"].get<size_t>());
    }
  }
  print_metadata(weights["metadata"]);
  if (every_tensor || weights["components"].empty()) print_tensors(weights["tensors"]);
}

}  // namespace kessoku::launcher
