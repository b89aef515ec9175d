#include "model/weight_loading.h"

#include <c10/core/GradMode.h>

#include <array>
#include <map>

#include "base/error.h"
#include "model/safetensors.h"
#include "model/weight_file.h"

namespace kessoku::model {

namespace {

/// The name that diffusers and transformers use today for a tensor of an older or a newer file;
/// empty for what is no weight.
std::string current_name(std::string name, bool prefixed) {
  if (name.ends_with("position_ids")) return {};  // 0, 1, 2, …: some files carry it
  // transformers 5 writes text encoders without the prefix.
  if (prefixed && !name.starts_with("text_model.")) name = "text_model." + name;
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

std::string shape_text(at::IntArrayRef shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

/// Matrices were 1×1 convolutions in some files.
bool is_same_matrix(at::IntArrayRef found, at::IntArrayRef expected) {
  return expected.size() == 2 && found.size() > 2 && found.slice(0, 2) == expected &&
         std::ranges::all_of(found.slice(2), [](int64_t side) { return side == 1; });
}

void load_tensor(const Parameter& parameter, const WeightFile& file, const std::string& name) {
  const at::IntArrayRef found = file.entry(name).shape, expected = parameter.tensor.sizes();
  if (found != expected && !is_same_matrix(found, expected)) {
    throw DataError(fmt::format("{}: tensor \"{}\" has shape {}, but the config asks for {}",
                                file.path().string(), name, shape_text(found),
                                shape_text(expected)));
  }
  parameter.tensor.copy_(file.tensor(name).reshape(expected));
  file.release(name);  // or the weights would be in memory twice
}

std::filesystem::path find_file(const std::filesystem::path& folder, const std::string& stem) {
  for (const char* suffix : {".safetensors", ".fp16.safetensors", ".bin", ".fp16.bin"}) {
    const std::filesystem::path path = folder / (stem + suffix);
    if (std::filesystem::exists(path)) return path;
  }
  throw UsageError(fmt::format("{}: there is no {}.safetensors, nor .bin, nor .fp16 of either",
                               folder.string(), stem));
}

}  // namespace

void load_weights(const Parameters& parameters, const std::filesystem::path& folder,
                  const std::string& stem) {
  const c10::NoGradGuard no_grad;
  const WeightFile file = open_weight_file(find_file(folder, stem));
  const bool prefixed = !parameters.empty() && parameters[0].name.starts_with("text_model.");
  std::map<std::string, std::string> names;  // today's → the file's
  for (const std::string& name : file.names()) {
    const std::string current = current_name(name, prefixed);
    if (!current.empty() && !names.emplace(current, name).second) {
      throw DataError(fmt::format("{}: tensors \"{}\" and \"{}\" are the same weight",
                                  file.path().string(), name, names[current]));
    }
  }
  for (const Parameter& parameter : parameters) {
    const auto found = names.find(parameter.name);
    if (found == names.end()) {
      throw DataError(fmt::format("{}: tensor \"{}\" {} is missing", file.path().string(),
                                  parameter.name, shape_text(parameter.tensor.sizes())));
    }
    load_tensor(parameter, file, found->second);
    names.erase(found);
  }
  if (!names.empty()) {
    throw DataError(
        fmt::format("{}: tensor \"{}\" is not part of the network that the config describes",
                    file.path().string(), names.begin()->second));
  }
}

void save_weights(const Parameters& parameters, const std::filesystem::path& folder,
                  const std::string& stem, at::ScalarType dtype) {
  write_safetensors(folder / (stem + ".safetensors"), outputs_of(parameters, dtype),
                    {{"format", "pt"}});
}

}  // namespace kessoku::model
