#include "model/pipeline.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>

#include "base/error.h"
#include "base/random.h"
#include "model/solver.h"

namespace kessoku::model {

namespace {

/// Pixels that are decoded at a time: the VAE's activations at full size need some 2 KB each.
constexpr int64_t kDecodePixels = 4 * 512 * 512;

at::Device device_of(const StableDiffusion& model) {
  return model.unet.parameters().front().tensor.device();
}

void check_requests(const StableDiffusion& model, const std::vector<TextToImage>& requests) {
  if (requests.empty()) throw UsageError("no pictures asked for");
  const TextToImage& first = requests.front();
  check_picture_size(model, first.width, first.height);
  for (const TextToImage& request : requests) {
    const bool same = request.width == first.width && request.height == first.height &&
                      request.steps == first.steps && request.cfg == first.cfg &&
                      request.solver == first.solver;
    if (!same) throw UsageError("pictures of one batch must agree in size, steps, cfg and solver");
  }
}

at::Tensor encode_prompts(const StableDiffusion& model, const std::vector<std::string>& prompts) {
  std::vector<int64_t> ids;
  for (const std::string& prompt : prompts) {
    const TokenizedText text = model.tokenizer.tokenize(prompt);
    ids.insert(ids.end(), text.ids.begin(), text.ids.end());
  }
  const auto count = static_cast<int64_t>(prompts.size());
  return model.text_encoder.forward(
      at::tensor(ids, at::kLong).view({count, -1}).to(device_of(model)));
}

/// Text states as the UNet's batch wants them: of the negatives, then of the prompts; without
/// guidance of the prompts alone.
at::Tensor encode_requests(const StableDiffusion& model, const std::vector<TextToImage>& requests,
                           bool guided) {
  std::vector<std::string> prompts;
  if (guided) {
    for (const TextToImage& request : requests) prompts.push_back(request.negative);
  }
  for (const TextToImage& request : requests) prompts.push_back(request.prompt);
  return encode_prompts(model, prompts);
}

/// The noise that the UNet sees in `input`; with guidance uncond + cfg · (cond − uncond), both from
/// one call.
at::Tensor predict(const StableDiffusion& model, const at::Tensor& input, double timestep,
                   const at::Tensor& states, double cfg) {
  const bool guided = states.size(0) != input.size(0);
  const at::Tensor batch = guided ? at::cat({input, input}) : input;
  const at::Tensor timesteps = at::full({batch.size(0)}, timestep, batch.options());
  const at::Tensor output = model.unet.forward(batch, timesteps, states);
  if (!guided) return output;
  const std::vector<at::Tensor> halves = output.chunk(2);
  return halves[0] + cfg * (halves[1] - halves[0]);
}

/// Unit normals of `shape` (B, …), each picture's keyed by (its seed, purpose, index).
at::Tensor normals(const std::vector<TextToImage>& requests, at::IntArrayRef shape, Purpose purpose,
                   int64_t index) {
  at::Tensor normals = at::empty(shape, at::kFloat);
  const auto each = static_cast<size_t>(normals.numel()) / requests.size();
  float* place = normals.data_ptr<float>();
  for (const TextToImage& request : requests) {
    RandomStream(request.seed, purpose, static_cast<uint64_t>(index)).fill_normal({place, each});
    place += each;
  }
  return normals;
}

at::Tensor decode_to_bytes(const Vae& vae, const at::Tensor& latents, int64_t pixels) {
  const int64_t at_once = std::max<int64_t>(1, kDecodePixels / pixels);
  std::vector<at::Tensor> decoded;
  for (const at::Tensor& part : (latents / vae.config().scaling_factor).split(at_once)) {
    const at::Tensor images = (vae.decode(part) * 0.5 + 0.5).clamp(0, 1) * 255;
    decoded.push_back(images.round().permute({0, 2, 3, 1}).to(at::kByte).contiguous().cpu());
  }
  return at::cat(decoded);
}

}  // namespace

void check_picture_size(const StableDiffusion& model, int64_t width, int64_t height) {
  const int64_t unit = picture_size_unit(model);
  if (width < unit || height < unit || width % unit != 0 || height % unit != 0) {
    const auto nearest = [unit](int64_t size) {
      return std::max(unit, (size + unit / 2) / unit * unit);
    };
    throw UsageError(
        fmt::format("size {}x{}: this model makes widths and heights that are multiples of {}; the "
                    "nearest size is {}x{}",
                    width, height, unit, nearest(width), nearest(height)));
  }
}

int64_t picture_size_unit(const StableDiffusion& model) {
  const auto halvings = static_cast<int64_t>(model.unet.config().block_out_channels.size()) - 1;
  return model.vae.config().downscale() << halvings;
}

at::Tensor initial_latents(const StableDiffusion& model, const std::vector<TextToImage>& requests) {
  const int64_t downscale = model.vae.config().downscale();
  const int64_t height = requests.front().height / downscale;
  const int64_t width = requests.front().width / downscale;
  const auto count = static_cast<int64_t>(requests.size());
  return normals(requests, {count, model.vae.config().latent_channels, height, width},
                 Purpose::kInitialLatents, 0);
}

at::Tensor text_to_image(const StableDiffusion& model, const std::vector<TextToImage>& requests,
                         const at::Tensor& given_latents,
                         const std::function<void(int64_t, int64_t)>& on_step) {
  const at::NoGradGuard no_grad;
  check_requests(model, requests);
  const TextToImage& settings = requests.front();
  const auto solver = make_solver(settings.solver, NoiseSchedule(model.schedule), settings.steps);

  at::Tensor latents = initial_latents(model, requests);
  if (given_latents.defined()) {
    if (given_latents.sizes() != latents.sizes()) {
      throw UsageError(fmt::format("the initial latents are of shape ({}); the pictures need ({})",
                                   fmt::join(given_latents.sizes(), ", "),
                                   fmt::join(latents.sizes(), ", ")));
    }
    latents = given_latents;
  }
  latents = latents.to(device_of(model), at::kFloat) * solver->initial_scale();

  const at::Tensor states = encode_requests(model, requests, settings.cfg != 1);
  for (int64_t i = 0; i < solver->steps(); ++i) {
    const at::Tensor output =
        predict(model, solver->scale_input(latents, i), solver->timestep(i), states, settings.cfg);
    at::Tensor noise;
    if (solver->needs_noise(i)) {
      noise = normals(requests, latents.sizes(), Purpose::kSolverNoise, i).to(latents.device());
    }
    latents = solver->step(output, i, latents, noise);
    if (on_step) on_step(i + 1, solver->steps());
  }
  return decode_to_bytes(model.vae, latents, settings.width * settings.height);
}

}  // namespace kessoku::model
