#include <c10/core/GradMode.h>

#include "base/error.h"
#include "launcher/commands.h"
#include "launcher/model_folder.h"
#include "model/networks/text_conditioning.h"
#include "model/stable_diffusion/stable_diffusion.h"
#include "model/weights/safetensors.h"
#include "runtime/host/device.h"

namespace kessoku::launcher {

namespace {

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

/// Throws UsageError unless the output is new or was written by this command: then it holds its
/// only tensor.
void require_free(const ForwardOptions& options) {
  if (!std::filesystem::exists(options.output)) return;
  if (std::filesystem::exists(options.input) &&
      std::filesystem::equivalent(options.input, options.output))
    throw UsageError("forward: IN and OUT are the same file");
  try {
    const std::vector<std::string> names = model::SafetensorsFile(options.output).names();
    if (names.size() == 1 &&
        (names[0] == "sample" || names[0] == "moments" || names[0] == "last_hidden_state"))
      return;
  } catch (const DataError&) {  // something else
  }
  throw UsageError(fmt::format(
      "forward: {} is there already, and kessoku forward did not write it: give another OUT",
      options.output));
}

}  // namespace

void run(const ForwardOptions& options) {
  const c10::NoGradGuard no_grad;
  require_free(options);
  model::write_safetensors(options.output, {run_module(options)});
}

}  // namespace kessoku::launcher
