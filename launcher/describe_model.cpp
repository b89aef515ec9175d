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

int64_t count_numbers(const model::WeightEntry& entry) {
  int64_t count = 1;
  for (const int64_t side : entry.shape) count *= side;
  return count;
}

template <typename NetworkModel, typename Config>
NetworkContents describe_network(const model::StoredNetwork<Config>& stored) {
  const NetworkModel network(stored.config, at::kMeta);
  NetworkContents result{.tensors = stored.weights.tensors.size(),
                         .parameters = 0,
                         .dtypes = {},
                         .problems = model::compare_weights(network.parameters(), stored.weights)};
  for (const auto& [name, place] : stored.weights.tensors) {
    const model::WeightEntry& entry = place.file->entry(place.name);
    result.parameters += count_numbers(entry);
    ++result.dtypes[model::short_name(entry.dtype)];
  }
  return result;
}

std::map<std::string, NetworkContents> describe_networks(const model::ModelFiles& stored) {
  std::map<std::string, NetworkContents> components;
  if (stored.unet) components["unet"] = describe_network<model::UNet>(*stored.unet);
  if (stored.text_encoder) {
    components["text_encoder"] = describe_network<model::TextEncoder>(*stored.text_encoder);
  }
  if (stored.vae) components["vae"] = describe_network<model::Vae>(*stored.vae);
  return components;
}

void print_components(const std::map<std::string, NetworkContents>& components) {
  fmt::print("  component       tensors    parameters  stored as\n");
  for (const auto& [name, component] : components) {
    std::vector<std::string> dtypes;
    for (const auto& [dtype, count] : component.dtypes) dtypes.push_back(dtype);
    fmt::print("  {:<14}{:>9}{:>14}  {}\n", name, component.tensors, component.parameters,
               fmt::join(dtypes, ", "));
  }
  const auto print_lines = [](const std::vector<std::string>& lines, const char* kind) {
    for (size_t i = 0; i < std::min(lines.size(), kShown); ++i) fmt::print("  {}\n", lines[i]);
    if (lines.size() > kShown) fmt::print("  … and {} more {}\n", lines.size() - kShown, kind);
  };
  for (const auto& [name, component] : components) {
    print_lines(component.problems.missing, "missing");
    print_lines(component.problems.mismatched, "mismatched");
    print_lines(component.problems.unexpected, "unexpected");
  }
}

void print_metadata(const std::map<std::string, std::string>& metadata) {
  constexpr size_t kMaxText = 100;
  for (const auto& [key, value] : metadata) {
    const bool cut = value.size() > kMaxText;
    fmt::print("  {}: {}{}\n", key, value.substr(0, kMaxText), cut ? " …" : "");
  }
}

}  // namespace

bool ModelContents::complete() const {
  return !components.empty() && std::ranges::all_of(components, [](const auto& component) {
    const model::WeightProblems& problems = component.second.problems;
    return problems.missing.empty() && problems.mismatched.empty() && problems.unexpected.empty();
  });
}

ModelContents describe_model_folder(const fs::path& folder) {
  const bool whole = fs::exists(folder / "model_index.json");
  ModelContents model{.kind = whole ? "diffusers model" : "diffusers network",
                      .components = describe_networks(model::open_model({.path = folder}))};
  if (whole) {
    for (const char* name : {"unet", "text_encoder", "vae"}) {
      if (model.components.contains(name)) continue;
      throw DataError(
          fmt::format("{}: no folder {} beside model_index.json", folder.string(), name));
    }
  }
  return model;
}

WeightFileContents describe_weight_file(const fs::path& path, const fs::path& config) {
  const model::WeightFile file = model::open_weight_file(path);
  const model::WeightLayout layout = model::find_layout(file);
  WeightFileContents result{.file = path.filename().string(),
                            .format = file.format(),
                            .bytes = fs::file_size(path),
                            .ema = layout.ema,
                            .model = {.kind = layout.describe(), .components = {}},
                            .other_tensors = file.entries().size(),
                            .tensors = file.entries(),
                            .parameters = 0,
                            .metadata = file.metadata()};
  for (const auto& [name, entry] : file.entries()) result.parameters += count_numbers(entry);
  if (layout.foreign.empty() && !layout.empty()) {
    result.model.components =
        describe_networks(model::open_model({.path = path, .config = config}));
    for (const auto& [name, component] : result.model.components)
      result.other_tensors -= std::min(component.tensors, result.other_tensors);
  }
  return result;
}

json to_json(const ModelContents& model) {
  json components = json::object();
  for (const auto& [name, component] : model.components) {
    components[name] = {{"tensors", component.tensors},
                        {"parameters", component.parameters},
                        {"dtypes", component.dtypes},
                        {"missing", component.problems.missing},
                        {"mismatched", component.problems.mismatched},
                        {"unexpected", component.problems.unexpected}};
  }
  return {
      {"kind", model.kind}, {"components", std::move(components)}, {"complete", model.complete()}};
}

json to_json(const WeightFileContents& weights) {
  json tensors = json::array();
  for (const auto& [name, entry] : weights.tensors) {
    tensors.push_back(
        {{"name", name}, {"dtype", model::short_name(entry.dtype)}, {"shape", entry.shape}});
  }
  json result = to_json(weights.model);
  result.update({{"file", weights.file},
                 {"format", weights.format},
                 {"bytes", weights.bytes},
                 {"ema", weights.ema},
                 {"other_tensors", weights.other_tensors},
                 {"tensors", std::move(tensors)},
                 {"parameters", weights.parameters},
                 {"metadata", weights.metadata}});
  return result;
}

void print_model_folder(const ModelContents& model) { print_components(model.components); }

void print_weight_file(const WeightFileContents& weights, bool every_tensor) {
  fmt::print("{}: {}, {}, {} tensors, {} numbers\n", weights.file, weights.model.kind,
             weights.format, weights.tensors.size(), weights.parameters);
  const bool known = !weights.model.components.empty();
  if (known) {
    print_components(weights.model.components);
    if (weights.ema)
      fmt::print("  moving averages (EMA) of the UNet's weights, which --ema takes\n");
    if (weights.other_tensors > 0) fmt::print("  other tensors: {}\n", weights.other_tensors);
  }
  print_metadata(weights.metadata);
  if (known && !every_tensor) return;
  for (const auto& [name, entry] : weights.tensors) {
    fmt::print("  {:<72} {:<5} [{}]\n", name, model::short_name(entry.dtype),
               fmt::join(entry.shape, ", "));
  }
}

}  // namespace kessoku::launcher
