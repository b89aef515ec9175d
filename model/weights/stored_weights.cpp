#include "model/weights/stored_weights.h"

#include <ATen/ops/allclose.h>
#include <c10/core/GradMode.h>
#include <c10/core/ScalarType.h>

#include <array>
#include <nlohmann/json.hpp>
#include <set>

#include "base/error.h"
#include "base/json_fields.h"
#include "base/log.h"
#include "model/weights/narrowing.h"

namespace kessoku::model {

using nlohmann::json;
using std::filesystem::path;

namespace {

/// Tensors that some files carry and no network here has: 0, 1, 2 … as numbers of positions, what
/// CLIP needs to compare texts with images, and marks that tell how the UNet was trained.
bool is_ignored(const std::string& name) {
  return name.ends_with("position_ids") || name == "text_projection.weight" ||
         name == "logit_scale" || name.starts_with("vision_model.") ||
         name == "visual_projection.weight" || name == kVPredictionMark ||
         name == kZeroTerminalSnrMark;
}

/// The name that diffusers and transformers use today for a tensor of an older or a newer file.
std::string current_name(std::string name) {
  // transformers 5 writes text encoders without the prefix.
  for (const char* part : {"embeddings.", "encoder.layers.", "final_layer_norm."}) {
    if (name.starts_with(part)) return "text_model." + name;
  }
  // diffusers before 0.15 called the autoencoder's attention so.
  static constexpr std::array<std::pair<std::string_view, std::string_view>, 4> kOldAttention{
      {{".query.", ".to_q."},
       {".key.", ".to_k."},
       {".value.", ".to_v."},
       {".proj_attn.", ".to_out.0."}}};
  for (const auto& [old_part, new_part] : kOldAttention) {
    const size_t at = name.find(old_part);
    if (at != std::string::npos) name.replace(at, old_part.size(), new_part);
  }
  return name;
}

void add_tensor(StoredWeights& weights, const std::shared_ptr<const WeightFile>& file,
                const std::string& name) {
  if (is_ignored(name)) return;
  const auto [place, added] =
      weights.tensors.emplace(current_name(name), StoredWeights::Place{file, name});
  if (!added) {
    throw DataError(fmt::format("{}: tensors \"{}\" and \"{}\" are the same weight",
                                file->path().string(), place->second.name, name));
  }
}

std::shared_ptr<const WeightFile> share(WeightFile file) {
  return std::make_shared<const WeightFile>(std::move(file));
}

/// {"weight_map": {tensor: file beside the index}}.
StoredWeights open_index(const path& index) {
  StoredWeights weights{.where = index};
  const json parsed = read_json_file(index.string());
  const auto map = parsed.find("weight_map");
  if (map == parsed.end() || !map->is_object()) {
    throw DataError(
        fmt::format("{}: \"weight_map\" must name a file for each tensor", index.string()));
  }
  std::map<std::string, std::shared_ptr<const WeightFile>> files;
  for (const auto& [tensor, value] : map->items()) {
    const std::string name = value.is_string() ? value.get<std::string>() : "";
    if (name.empty() || name != path(name).filename() || name == "..") {
      throw DataError(fmt::format("{}: the file of tensor \"{}\" must be one beside the index",
                                  index.string(), tensor));
    }
    auto& file = files[name];
    if (!file) file = share(open_weight_file(index.parent_path() / name));
    file->entry(tensor);  // must be there
    add_tensor(weights, file, tensor);
  }
  return weights;
}

/// The files that may hold a module's weights, of those that are there; the first is the one that
/// diffusers and transformers read.
std::vector<path> find_folder_files(const path& folder, const std::string& stem) {
  const std::string torch_stem = stem == "model" ? "pytorch_model" : stem;
  const std::string safetensors = stem + ".safetensors", bin = torch_stem + ".bin";
  std::vector<path> files;
  for (const std::string& name :
       {safetensors, safetensors + ".index.json", stem + ".fp16.safetensors",
        safetensors + ".index.fp16.json", bin, bin + ".index.json", torch_stem + ".fp16.bin",
        bin + ".index.fp16.json"}) {
    if (std::filesystem::exists(folder / name)) files.push_back(folder / name);
  }
  if (!files.empty()) return files;
  throw UsageError(
      fmt::format("{}: there is neither {} nor {}, nor a variant fp16 or an index of "
                  "either",
                  folder.string(), safetensors, bin));
}

StoredWeights open_weights(const path& file) {
  return file.extension() == ".json" ? open_index(file)
                                     : named_weights(share(open_weight_file(file)));
}

/// The name of a weight that two sets of files hold with different values, beyond rounding to fp16;
/// empty if there is none. Looks at small tensors only, which training changes like all others.
std::string find_difference(const StoredWeights& one, const StoredWeights& other) {
  constexpr size_t kSmall = size_t{64} << 10;
  constexpr double kRounding = 1e-3;
  for (const auto& [name, place] : one.tensors) {
    const auto found = other.tensors.find(name);
    const WeightEntry& entry = place.file->entry(place.name);
    if (found == other.tensors.end()) return name;
    const WeightEntry& beside = found->second.file->entry(found->second.name);
    if (entry.end - entry.begin > kSmall || !c10::isFloatingType(entry.dtype)) continue;
    if (entry.shape != beside.shape) return name;
    const at::Tensor ours = place.file->tensor(place.name).to(at::kDouble);
    const at::Tensor theirs = found->second.file->tensor(found->second.name).to(at::kDouble);
    if (!at::allclose(ours, theirs, kRounding, kRounding)) return name;
  }
  return {};
}

/// Who left several may think that another one is used.
void warn_of_others(const StoredWeights& read, const std::vector<path>& files) {
  for (size_t i = 1; i < files.size(); ++i) {
    try {
      const std::string name = find_difference(read, open_weights(files[i]));
      if (name.empty()) continue;
      log_warning("{}: is read, as diffusers does; {} beside it holds other weights (\"{}\")",
                  files.front().string(), files[i].filename().string(), name);
    } catch (const Error&) {  // a damaged file that nobody reads
    }
  }
}

std::string shape_text(at::IntArrayRef shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

/// Matrices were 1×1 convolutions in some files.
bool is_same_matrix(at::IntArrayRef found, at::IntArrayRef expected) {
  return expected.size() == 2 && found.size() > 2 && found.slice(0, 2) == expected &&
         std::ranges::all_of(found.slice(2), [](int64_t side) { return side == 1; });
}

/// What is wrong with a tensor; empty if nothing is.
std::string find_mismatch(const Parameter& expected, const StoredWeights::Place& place) {
  const WeightEntry& entry = place.file->entry(place.name);
  const at::IntArrayRef found = entry.shape, wanted = expected.tensor.sizes();
  if (found != wanted && !is_same_matrix(found, wanted)) {
    return fmt::format("has shape {}, but the config asks for {}", shape_text(found),
                       shape_text(wanted));
  }
  if (!c10::isFloatingType(entry.dtype)) {
    return fmt::format("is of {}, but weights are floating-point numbers",
                       c10::toString(entry.dtype));
  }
  return {};
}

/// Throws DataError if a value is not finite, or would not be in `dtype`.
void require_finite(const at::Tensor& tensor, at::ScalarType dtype,
                    const StoredWeights::Place& place) {
  const double largest = largest_value(tensor);
  if (fits(largest, dtype)) return;
  throw DataError(fmt::format("{}: tensor \"{}\" {}", place.file->path().string(), place.name,
                              explain_misfit(largest, dtype)));
}

}  // namespace

StoredWeights named_weights(std::shared_ptr<const WeightFile> file) {
  StoredWeights weights{.where = file->path()};
  for (const auto& [name, entry] : file->entries()) add_tensor(weights, file, name);
  return weights;
}

StoredWeights open_folder_weights(const path& folder, const std::string& stem) {
  const std::vector<path> files = find_folder_files(folder, stem);
  StoredWeights weights = open_weights(files.front());
  warn_of_others(weights, files);
  return weights;
}

WeightProblems compare_weights(const Parameters& expected, const StoredWeights& stored) {
  WeightProblems problems;
  std::set<std::string_view> known;
  const auto line = [](const path& file, const std::string& name, const std::string& problem) {
    return fmt::format("{}: tensor \"{}\" {}", file.string(), name, problem);
  };
  for (const Parameter& parameter : expected) {
    known.insert(parameter.name);
    const auto found = stored.tensors.find(parameter.name);
    if (found == stored.tensors.end()) {
      const std::string name = stored.spelling ? stored.spelling(parameter.name) : parameter.name;
      problems.missing.push_back(
          line(stored.where, name, shape_text(parameter.tensor.sizes()) + " is missing"));
      continue;
    }
    const StoredWeights::Place& place = found->second;
    const std::string mismatch = find_mismatch(parameter, place);
    if (mismatch.empty()) continue;
    problems.mismatched.push_back(line(place.file->path(), place.name, mismatch));
  }
  for (const auto& [name, place] : stored.tensors) {
    if (known.contains(name)) continue;
    problems.unexpected.push_back(line(place.file->path(), place.name,
                                       "is not part of the network that the config describes"));
  }
  return problems;
}

void check_weights(const Parameters& expected, const StoredWeights& stored) {
  const WeightProblems problems = compare_weights(expected, stored);
  for (const auto* lines : {&problems.mismatched, &problems.missing, &problems.unexpected}) {
    if (lines->empty()) continue;
    throw DataError(lines->size() == 1
                        ? lines->front()
                        : fmt::format("{} (and {} more)", lines->front(), lines->size() - 1));
  }
}

void load_weights(const Parameters& parameters, const StoredWeights& stored) {
  check_weights(parameters, stored);
  const c10::NoGradGuard no_grad;
  for (const auto& [name, tensor] : parameters) {
    const auto& [file, stored_name] = stored.tensors.at(name);
    const at::Tensor values = file->tensor(stored_name);
    require_finite(values, tensor.scalar_type(), stored.tensors.at(name));
    tensor.copy_(values.reshape(tensor.sizes()));
    file->release(stored_name);  // or the weights would be in memory twice
  }
}

void load_weights(const Parameters& parameters, const path& folder, const std::string& stem) {
  load_weights(parameters, open_folder_weights(folder, stem));
}

TensorOutputs outputs_of(const Parameters& expected, const StoredWeights& stored,
                         std::optional<at::ScalarType> dtype) {
  check_weights(expected, stored);
  TensorOutputs outputs;
  for (const auto& [name, tensor] : expected) {
    const StoredWeights::Place& place = stored.tensors.at(name);
    const at::ScalarType wanted = dtype.value_or(place.file->entry(place.name).dtype);
    outputs.push_back({name, wanted, tensor.sizes().vec(),
                       [place, wanted, shape = tensor.sizes().vec()] {
                         const at::Tensor view = place.file->tensor(place.name).reshape(shape);
                         require_finite(view, wanted, place);
                         return view.to(wanted).contiguous();
                       },
                       [place] { place.file->release(place.name); }});
  }
  return outputs;
}

}  // namespace kessoku::model
