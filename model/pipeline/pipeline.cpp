#include "model/pipeline/pipeline.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>

#include "base/error.h"
#include "model/diffusion/solver.h"
#include "model/networks/vae_tiling.h"
#include "model/pipeline/inpainting.h"
#include "model/pipeline/latents.h"

namespace kessoku::model {

namespace {

bool is_guided(const GenerationRequest& request) { return request.cfg != 1; }

/// Negative and prompt, or the prompt alone: (2 or 1, 77·n, D).
at::Tensor encode_text_of(const StableDiffusion& model, const GenerationRequest& request) {
  std::vector<std::string> prompts;
  if (is_guided(request)) prompts.push_back(request.negative);
  prompts.push_back(request.prompt);
  return encode_prompts(model, prompts, request.text);
}

int64_t chunks_of(const StableDiffusion& model, const GenerationRequest& request) {
  const auto chunks = [&](const std::string& prompt) {
    return tokenize_prompt(model.tokenizer, prompt, request.text).chunks();
  };
  const int64_t own = chunks(request.prompt);
  return is_guided(request) ? std::max(own, chunks(request.negative)) : own;
}

std::unique_ptr<Solver> solver_of(const StableDiffusion& model, const GenerationRequest& request) {
  return make_solver(request.solver, NoiseSchedule(model.schedule), request.steps,
                     {.eta = request.eta});
}

/// The step that an image begins with, as in diffusers' get_timesteps.
int64_t first_step(const GenerationRequest& request) {
  if (!request.init.defined()) return 0;
  const auto taken = static_cast<int64_t>(static_cast<double>(request.steps) * request.strength);
  if (taken < 1) {
    throw UsageError(
        fmt::format("strength {} of {} steps leaves no step to take: raise one of them",
                    request.strength, request.steps));
  }
  return request.steps - std::min(taken, request.steps);
}

std::vector<int64_t> latent_shape(const StableDiffusion& model, const GenerationRequest& request) {
  const VaeConfig& vae = model.vae.config();
  return {vae.latent_channels, request.height / vae.downscale(), request.width / vae.downscale()};
}

void check(const StableDiffusion& model, const GenerationRequest& request) {
  check_image_size(model, request.width, request.height);
  check_tile(model.vae, request.tile);
  const int64_t channels = model.unet.config().in_channels;
  const int64_t latents = model.vae.config().latent_channels;
  if (channels != latents && !is_inpainting_model(model)) {
    throw UsageError(
        fmt::format("the UNet takes {} channels; images are made with those of {} (ordinary) or {} "
                    "(inpainting)",
                    channels, latents, 2 * latents + 1));
  }
  if (!(request.strength >= 0 && request.strength <= 1))
    throw UsageError(fmt::format("strength {}: must be between 0 and 1", request.strength));
  if (request.mask.defined() && !request.init.defined())
    throw UsageError("a mask needs the image that is to be repainted");
  const std::vector<int64_t> size{request.height, request.width};
  for (const at::Tensor& image : {request.init, request.mask}) {
    if (image.defined() && image.sizes().slice(1) != at::IntArrayRef(size))
      throw std::invalid_argument("make_images: image or mask is not of the size asked for");
  }
  const std::vector<int64_t> shape = latent_shape(model, request);
  if (request.noise.defined() && request.noise.sizes() != at::IntArrayRef(shape)) {
    throw UsageError(fmt::format("the initial latents are of shape ({}); the image needs ({})",
                                 fmt::join(request.noise.sizes(), ", "), fmt::join(shape, ", ")));
  }
}

/// What goes through the UNet together: the images of `requests`, each on its own row, and copies
/// of the last one up to `count`. All but the UNet works on one image at a time.
class Rows {
 public:
  Rows(const StableDiffusion& model, const std::vector<GenerationRequest>& requests, int64_t count)
      : model_(model),
        requests_(requests),
        count_(std::max(static_cast<size_t>(count), requests.size())),
        device_(model.unet.parameters().front().tensor.device()),
        shape_(latent_shape(model, requests.front())) {}

  /// Unit normals (rows, C, h, w).
  at::Tensor noise(Purpose purpose, int64_t index) const {
    return stack([&](const GenerationRequest& request) {
      return unit_normals(shape_, request.seed, purpose, static_cast<uint64_t>(index));
    });
  }
  at::Tensor initial_noise() const {
    return stack([&](const GenerationRequest& request) {
      return request.noise.defined()
                 ? request.noise.to(at::kFloat)
                 : unit_normals(shape_, request.seed, Purpose::kInitialLatents, 0);
    });
  }
  /// (2·rows, T, D): the negatives', then the prompts'; without guidance the prompts' alone.
  at::Tensor text_states() const {
    return stack([&](const GenerationRequest& request) { return encode_text_of(model_, request); })
        .transpose(0, 1)
        .flatten(0, 1);
  }
  at::Tensor init_latents() const {
    return stack(
        [&](const GenerationRequest& request) { return encode(request, request.init, 0); });
  }
  /// 1 where latents are repainted, (rows, 1, h, w).
  at::Tensor masks() const {
    return stack([&](const GenerationRequest& request) {
      return mask_of_latents(mask_of(request), model_.vae.config().downscale());
    });
  }
  at::Tensor masked_latents() const {
    return stack([&](const GenerationRequest& request) {
      const at::Tensor init = request.init.defined()
                                  ? request.init
                                  : at::zeros({3, request.height, request.width}, at::kFloat);
      return encode(request, masked_images(init, mask_of(request)), 1);
    });
  }
  at::Tensor decode(const at::Tensor& latents) const {
    std::vector<at::Tensor> images;
    for (size_t i = 0; i < requests_.size(); ++i) {
      images.push_back(decode_to_pixels(model_.vae, latents.narrow(0, static_cast<int64_t>(i), 1),
                                        requests_[i].tile));
    }
    return at::cat(images);
  }

 private:
  template <typename Function>
  at::Tensor stack(const Function& of) const {
    std::vector<at::Tensor> rows;
    for (const GenerationRequest& request : requests_) rows.push_back(of(request).to(device_));
    while (rows.size() < count_) rows.push_back(rows.back());
    return at::stack(rows);
  }
  at::Tensor encode(const GenerationRequest& request, const at::Tensor& image,
                    uint64_t index) const {
    const at::Tensor noise = unit_normals(shape_, request.seed, Purpose::kVaeSample, index);
    return encode_to_latents(model_.vae, image.unsqueeze(0).to(device_),
                             noise.unsqueeze(0).to(device_), request.tile)[0];
  }
  static at::Tensor mask_of(const GenerationRequest& request) {
    if (request.mask.defined()) return request.mask;
    return at::ones({1, request.height, request.width}, at::kFloat);
  }

  const StableDiffusion& model_;
  const std::vector<GenerationRequest>& requests_;
  size_t count_;
  at::Device device_;
  std::vector<int64_t> shape_;
};

/// The noise that the UNet sees in `input`; with guidance uncond + cfg · (cond − uncond), both from
/// one call.
at::Tensor predict(const UNet& unet, const at::Tensor& input, double timestep,
                   const at::Tensor& states, double cfg) {
  const bool guided = states.size(0) != input.size(0);
  const at::Tensor batch = guided ? at::cat({input, input}) : input;
  const at::Tensor timesteps = at::full({batch.size(0)}, timestep, batch.options());
  const at::Tensor output = unet.forward(batch, timesteps, states).to(at::kFloat);
  if (!guided) return output;
  const std::vector<at::Tensor> halves = output.chunk(2);
  return halves[0] + cfg * (halves[1] - halves[0]);
}

}  // namespace

at::Tensor make_images(const StableDiffusion& model, const std::vector<GenerationRequest>& requests,
                       const GenerationOptions& options) {
  const at::NoGradGuard no_grad;
  if (requests.empty()) throw UsageError("no images asked for");
  for (const GenerationRequest& request : requests) check(model, request);
  const GenerationRequest& settings = requests.front();
  const auto solver = solver_of(model, settings);
  const int64_t first = first_step(settings);
  const bool inpaints = settings.mask.defined();
  const Rows rows(model, requests, options.rows);

  const at::Tensor states = rows.text_states();
  const at::Tensor noise = rows.initial_noise();
  const at::Tensor init = settings.init.defined() ? rows.init_latents() : at::Tensor();
  const at::Tensor masks = inpaints || is_inpainting_model(model) ? rows.masks() : at::Tensor();
  const at::Tensor seen =  // by an inpainting UNet, besides the latents
      is_inpainting_model(model) ? at::cat({masks, rows.masked_latents()}, 1) : at::Tensor();

  // What is repainted altogether begins as noise, like an image without an original.
  const bool from_noise = !init.defined() || (inpaints && settings.strength == 1);
  at::Tensor latents =
      from_noise ? noise * solver->initial_scale() : solver->noised(init, noise, first);
  for (int64_t i = first; i < solver->steps(); ++i) {
    at::Tensor input = solver->scale_input(latents, i);
    if (seen.defined()) input = at::cat({input, seen}, 1);
    const at::Tensor output = predict(model.unet, input, solver->timestep(i), states, settings.cfg);
    const at::Tensor fresh =
        solver->needs_noise(i) ? rows.noise(Purpose::kSolverNoise, i) : at::Tensor();
    latents = solver->step(output, i, latents, fresh);
    if (inpaints && !seen.defined())
      latents = masks * latents + (1 - masks) * solver->noised(init, noise, i + 1);
    if (options.on_step) options.on_step(i + 1 - first, solver->steps() - first);
  }
  return rows.decode(latents);
}

std::string batch_key(const StableDiffusion& model, const GenerationRequest& request) {
  return fmt::format("{}x{} {} {} {} {} {} {} {} {}", request.width, request.height, request.steps,
                     request.cfg, request.solver, request.eta, request.strength,
                     request.init.defined(), request.mask.defined(), chunks_of(model, request));
}

void check_image_size(const StableDiffusion& model, int64_t width, int64_t height) {
  const int64_t unit = model.vae.config().downscale();
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

int64_t count_steps(const StableDiffusion& model, const GenerationRequest& request) {
  return solver_of(model, request)->steps() - first_step(request);
}

}  // namespace kessoku::model
