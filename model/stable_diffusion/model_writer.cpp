#include "model/stable_diffusion/model_writer.h"

#include <ATen/ops/arange.h>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "base/json_fields.h"
#include "model/stable_diffusion/ldm_names.h"
#include "model/weights/safetensors.h"
#include "model/weights/torch_writer.h"

namespace kessoku::model {

using nlohmann::json;
using std::filesystem::path;

namespace {

template <typename Network>
auto network_output(const std::string& part, const Network& network,
                    std::optional<at::ScalarType> dtype, const Parameters& instead) {
  Parameters written = network.parameters();
  for (Parameter& parameter : written) {
    const auto found = std::ranges::find(instead, part + "." + parameter.name, &Parameter::name);
    if (found != instead.end()) parameter.tensor = found->tensor;
  }
  using Config = std::decay_t<decltype(network.config())>;
  return NetworkOutput<Config>{network.config(), outputs_of(written, dtype)};
}

/// The network is built for the names and shapes of its weights, without memory for them.
template <typename Network, typename Config>
std::optional<NetworkOutput<Config>> network_output(
    const std::optional<StoredNetwork<Config>>& stored, std::optional<at::ScalarType> dtype) {
  if (!stored) return std::nullopt;
  const Network network(stored->config, at::kMeta);
  return NetworkOutput<Config>{stored->config,
                               outputs_of(network.parameters(), stored->weights, dtype)};
}

json model_index(const ModelOutput& model, const json& schedule) {
  const json none = {nullptr, nullptr};
  json index{{"_class_name", "StableDiffusionPipeline"},
             {"_diffusers_version", kDiffusersVersion},
             {"feature_extractor", none},
             {"image_encoder", none},
             {"requires_safety_checker", false},
             {"safety_checker", none},
             {"scheduler", {"diffusers", schedule.value("_class_name", "PNDMScheduler")}},
             {"tokenizer", {"transformers", "CLIPTokenizer"}}};
  if (model.text_encoder) index["text_encoder"] = {"transformers", "CLIPTextModel"};
  if (model.unet) index["unet"] = {"diffusers", "UNet2DConditionModel"};
  if (model.vae) index["vae"] = {"diffusers", "AutoencoderKL"};
  // Latents, the mask, and the latents of the rest of the image.
  if (model.unet && model.vae &&
      model.unet->config.in_channels == 2 * model.vae->config.latent_channels + 1) {
    index["_class_name"] = "StableDiffusionInpaintPipeline";
  }
  return index;
}

constexpr const char* kUNetStem = "diffusion_pytorch_model";
constexpr const char* kVaeStem = kUNetStem;
constexpr const char* kTextEncoderStem = "model";

template <typename Config>
void write_network(const path& folder, const NetworkOutput<Config>& network, const char* stem,
                   const char* torch_stem, WeightFormat format) {
  std::filesystem::create_directories(folder);
  write_file_atomically(folder / "config.json", network.config.to_json().dump(2) + "\n");
  switch (format) {
    case WeightFormat::kSafetensors:
      write_safetensors(folder / fmt::format("{}.safetensors", stem), network.weights,
                        kFolderMetadata);
      return;
    case WeightFormat::kTorch:
      write_torch_file(folder / fmt::format("{}.bin", torch_stem), {network.weights});
      return;
    case WeightFormat::kNone:
      return;
  }
}

void write_network(const path& folder, const NetworkOutput<UNetConfig>& unet, WeightFormat format) {
  write_network(folder, unet, kUNetStem, kUNetStem, format);
}
void write_network(const path& folder, const NetworkOutput<VaeConfig>& vae, WeightFormat format) {
  write_network(folder, vae, kVaeStem, kVaeStem, format);
}
void write_network(const path& folder, const NetworkOutput<TextEncoderConfig>& text_encoder,
                   WeightFormat format) {
  write_network(folder, text_encoder, kTextEncoderStem, "pytorch_model", format);
}

// Lone files.

void add_unet(const NetworkOutput<UNetConfig>& unet, TensorOutputs& outputs) {
  for (TensorOutput output : unet.weights) {
    output.name = kLdmUNet + ldm_unet_name(unet.config, output.name);
    outputs.push_back(std::move(output));
  }
}

/// Matrices of the attention become 1×1 convolutions.
void add_vae(const NetworkOutput<VaeConfig>& vae, const std::string& prefix,
             TensorOutputs& outputs) {
  for (TensorOutput output : vae.weights) {
    output.name = prefix + ldm_vae_name(vae.config, output.name);
    if (output.shape.size() == 2) {
      output.shape.insert(output.shape.end(), {1, 1});
      output.make = [make = output.make, shape = output.shape] { return make().view(shape); };
    }
    outputs.push_back(std::move(output));
  }
}

void add_text_encoder(const NetworkOutput<TextEncoderConfig>& text_encoder,
                      const std::string& prefix, TensorOutputs& outputs) {
  for (TensorOutput output : text_encoder.weights) {
    output.name = prefix + output.name;
    outputs.push_back(std::move(output));
  }
}

/// Old loaders miss them if they are not there.
TensorOutput position_ids(int64_t count) {
  return {kLdmPositionIds,
          at::kLong,
          {1, count},
          [count] { return at::arange(count, at::kLong).unsqueeze(0); },
          {}};
}

TensorOutputs file_tensors(const ModelOutput& model) {
  TensorOutputs outputs;
  if (!model.unet && !model.text_encoder) {
    if (model.vae) add_vae(*model.vae, "", outputs);
    return outputs;
  }
  if (!model.unet && !model.vae) {
    add_text_encoder(*model.text_encoder, "", outputs);
    return outputs;
  }
  if (model.unet) add_unet(*model.unet, outputs);
  if (model.vae) add_vae(*model.vae, kLdmVae, outputs);
  if (model.text_encoder) {
    add_text_encoder(*model.text_encoder, kLdmTextEncoder, outputs);
    outputs.push_back(position_ids(model.text_encoder->config.max_position_embeddings));
  }
  return outputs;
}

json configs_of(const ModelOutput& model) {
  json configs = json::object();
  if (model.unet) configs["unet"] = model.unet->config.to_json();
  if (model.text_encoder) configs["text_encoder"] = model.text_encoder->config.to_json();
  if (model.vae) configs["vae"] = model.vae->config.to_json();
  if (model.unet) configs["scheduler"] = model.schedule.to_json();
  return configs;
}

}  // namespace

ModelOutput output_of(const StableDiffusion& model, std::optional<at::ScalarType> dtype,
                      const Parameters& instead) {
  return {network_output("unet", model.unet, dtype, instead),
          network_output("text_encoder", model.text_encoder, dtype, instead),
          network_output("vae", model.vae, dtype, instead), model.schedule, &model.tokenizer};
}

ModelOutput output_of(const ModelFiles& model, std::optional<at::ScalarType> dtype) {
  return {network_output<UNet>(model.unet, dtype),
          network_output<TextEncoder>(model.text_encoder, dtype),
          network_output<Vae>(model.vae, dtype), model.schedule};
}

std::vector<TensorOutput*> tensors_of(ModelOutput& model) {
  std::vector<TensorOutput*> tensors;
  const auto add = [&](auto& network) {
    if (!network) return;
    for (TensorOutput& tensor : network->weights) tensors.push_back(&tensor);
  };
  add(model.unet);
  add(model.text_encoder);
  add(model.vae);
  return tensors;
}

void write_model_folder(const path& folder, const ModelOutput& model, WeightFormat format) {
  if (model.unet) write_network(folder / "unet", *model.unet, format);
  if (model.text_encoder) write_network(folder / "text_encoder", *model.text_encoder, format);
  if (model.vae) write_network(folder / "vae", *model.vae, format);
  std::filesystem::create_directories(folder / "tokenizer");
  model.tokenizer->save(folder / "tokenizer");
  const json schedule = model.schedule.to_json();
  std::filesystem::create_directories(folder / "scheduler");
  write_file_atomically(folder / "scheduler" / "scheduler_config.json", schedule.dump(2) + "\n");
  write_file_atomically(folder / "model_index.json", model_index(model, schedule).dump(2) + "\n");
}

std::map<std::string, TensorOutputs> weight_files_of(const ModelOutput& model) {
  std::map<std::string, TensorOutputs> files;
  const auto add = [&](const char* part, const char* stem, const auto& network) {
    if (network) files[fmt::format("{}/{}.safetensors", part, stem)] = network->weights;
  };
  add("unet", kUNetStem, model.unet);
  add("text_encoder", kTextEncoderStem, model.text_encoder);
  add("vae", kVaeStem, model.vae);
  return files;
}

void write_network_folder(const path& folder, const ModelOutput& model, WeightFormat format) {
  if (model.unet) write_network(folder, *model.unet, format);
  if (model.text_encoder) write_network(folder, *model.text_encoder, format);
  if (model.vae) write_network(folder, *model.vae, format);
}

void write_model_file(const path& file, const ModelOutput& model, WeightFormat format) {
  const TensorOutputs tensors = file_tensors(model);
  const std::string configs = configs_of(model).dump();
  if (format == WeightFormat::kTorch) {
    write_torch_file(file, {tensors, /*in_state_dict=*/true, {{kConfigKey, configs}}});
  } else {
    write_safetensors(file, tensors, {{"format", "pt"}, {kConfigKey, configs}});
  }
}

}  // namespace kessoku::model
