#include <c10/core/GradMode.h>

#include "base/error.h"
#include "launcher/commands.h"
#include "launcher/dtype_option.h"
#include "launcher/model_folder.h"
#include "model/networks/text_conditioning.h"
#include "model/stable_diffusion/stable_diffusion.h"
#include "model/weights/safetensors.h"
#include "runtime/host/device.h"

namespace kessoku::launcher {

namespace {

struct ForwardOptions {
  std::string module, input, output;
  ModelOptions model;
  std::string dtype = "fp32";
  int64_t clip_skip = 0;
};

/// The tensor `name` of the input file; throws DataError unless it has `dims` dimensions.
at::Tensor input_tensor(const model::SafetensorsFile& file, const std::string& name, int64_t dims,
                        at::ScalarType dtype = at::kFloat) {
  const at::Tensor tensor = file.tensor(name).to(dtype);
  if (tensor.dim() != dims) {
    throw DataError(fmt::format("{}: tensor \"{}\" has {} dimensions, but must have {}",
                                file.path().string(), name, tensor.dim(), dims));
  }
  return tensor;
}

void check_size(const model::SafetensorsFile& file, const std::string& name,
                const at::Tensor& tensor, int64_t dim, int64_t expected) {
  if (tensor.size(dim) != expected) {
    throw DataError(
        fmt::format("{}: tensor \"{}\" has size {} in dimension {}, but the model takes {}",
                    file.path().string(), name, tensor.size(dim), dim, expected));
  }
}

/// Both sides of an image or of latents must be there, and survive what halves them.
void check_sides(const model::SafetensorsFile& file, const std::string& name,
                 const at::Tensor& tensor, int64_t least) {
  if (tensor.size(2) < least || tensor.size(3) < least) {
    throw DataError(
        fmt::format("{}: tensor \"{}\" is of {} x {} pixels, but its sides must be at least {}",
                    file.path().string(), name, tensor.size(3), tensor.size(2), least));
  }
}

at::Tensor run_unet(const model::UNet& unet, const model::SafetensorsFile& file,
                    at::Device device) {
  const at::Tensor sample = input_tensor(file, "sample", 4);
  const at::Tensor text = input_tensor(file, "encoder_hidden_states", 3);
  // diffusers also takes one timestep for the whole batch.
  const at::Tensor timestep = file.tensor("timestep").to(at::kFloat).reshape({-1});
  check_size(file, "sample", sample, 1, unet.config().in_channels);
  check_sides(file, "sample", sample, 1);
  check_size(file, "encoder_hidden_states", text, 0, sample.size(0));
  check_size(file, "encoder_hidden_states", text, 2, unet.config().cross_attention_dim);
  if (timestep.size(0) != 1) check_size(file, "timestep", timestep, 0, sample.size(0));
  return unet.forward(sample.to(device), timestep.to(device).expand({sample.size(0)}),
                      text.to(device));
}

at::Tensor run_text_encoder(const model::TextEncoder& encoder, const model::SafetensorsFile& file,
                            int64_t clip_skip, at::Device device) {
  const at::Tensor ids = input_tensor(file, "input_ids", 2, at::kLong);
  const auto& config = encoder.config();
  for (const int64_t id :
       at::IntArrayRef(ids.const_data_ptr<int64_t>(), static_cast<size_t>(ids.numel()))) {
    if (id < 0 || id >= config.vocab_size) {
      throw DataError(
          fmt::format("{}: tensor \"input_ids\" holds {}, but the vocabulary has {} entries",
                      file.path().string(), id, config.vocab_size));
    }
  }
  return model::encode_text(encoder, ids.to(device), clip_skip);
}

model::Parameter run_module(const ForwardOptions& options) {
  const model::SafetensorsFile file(options.input);
  const model::StableDiffusion model = model::load_model(resolve_model(options.model));
  const at::Device device = runtime::choose_device(options.model.device);
  runtime::move_model(model, device);
  const at::ScalarType dtype = options.dtype == "bf16" ? at::kBFloat16 : at::kFloat;
  if (options.module == "unet") {
    model::convert_parameters(model.unet.parameters(), dtype);
    return {"sample", run_unet(model.unet, file, device)};
  }
  if (options.module == "text_encoder") {
    model::convert_parameters(model.text_encoder.parameters(), dtype);
    return {"last_hidden_state",
            run_text_encoder(model.text_encoder, file, options.clip_skip, device)};
  }
  model::convert_parameters(model.vae.parameters(), dtype);
  if (options.module == "vae_encoder") {
    const at::Tensor sample = input_tensor(file, "sample", 4);
    check_size(file, "sample", sample, 1, model.vae.config().in_channels);
    check_sides(file, "sample", sample, model.vae.config().downscale());
    return {"moments", model.vae.encode(sample.to(device))};
  }
  const at::Tensor latents = input_tensor(file, "latent_sample", 4);
  check_size(file, "latent_sample", latents, 1, model.vae.config().latent_channels);
  check_sides(file, "latent_sample", latents, 1);
  return {"sample", model.vae.decode(latents.to(device))};
}

}  // namespace

void add_forward_command(CLI::App& app) {
  auto options = std::make_shared<ForwardOptions>();
  CLI::App* command = app.add_subcommand("forward", "Run one module of a model on given tensors");
  command->add_option("MODULE", options->module, "unet, text_encoder, vae_encoder or vae_decoder")
      ->required()
      ->check(CLI::IsMember({"unet", "text_encoder", "vae_encoder", "vae_decoder"}));
  command->add_option("MODEL", options->model.path, "Model folder, lone weight file or run folder")
      ->required();
  add_model_options(*command, options->model);
  add_device_option(*command, options->model.device);
  command->add_option("IN", options->input, "Inputs as .safetensors, named as in diffusers")
      ->required();
  command->add_option("OUT", options->output, ".safetensors to write")->required();
  command
      ->add_option("--clip-skip", options->clip_skip,
                   "Last layers of the text encoder to leave out, as in diffusers")
      ->check(CLI::NonNegativeNumber);
  add_dtype_option(*command, options->dtype, {"fp32", "bf16"},
                   "fp32 or bf16: of weights, activations and the output")
      ->capture_default_str();
  command->footer(
      "Inputs and outputs:\n"
      "  unet          sample, timestep, encoder_hidden_states -> sample\n"
      "  text_encoder  input_ids (B, 77 n) -> last_hidden_state, of each 77 by themselves\n"
      "  vae_encoder   sample (-1 to 1) -> moments\n"
      "  vae_decoder   latent_sample (unscaled) -> sample\n"
      "Example: kessoku forward unet models/base in.safetensors out.safetensors");
  command->callback([options] {
    const c10::NoGradGuard no_grad;
    model::write_safetensors(options->output, {run_module(*options)});
  });
}

}  // namespace kessoku::launcher
