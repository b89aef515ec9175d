// Times one pass through a network, as modules.py asks for it. Threads are the first argument.
// Reads commands from stdin, one a line, and answers each with one line:
//   config PRESET NETWORK                          the network's config.json
//   load PRESET NETWORK DTYPE BATCH SIDE           random weights and inputs; "ok". SIDE is that of
//   the latents forward | backward                             seconds of a pass; backward: forward
//   and backward with all gradients
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/mean.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>

#include <chrono>
#include <iostream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "model/stable_diffusion/presets.h"

namespace {

using namespace kessoku::model;

/// A network with inputs.
struct Case {
  Parameters parameters;
  std::function<at::Tensor()> forward;
};

struct Request {
  Preset preset;
  std::string network;
  int64_t batch = 1, side = 32;
};

Case make_unet(const Request& request) {
  const auto unet = std::make_shared<UNet>(request.preset.unet);
  const UNetConfig& config = unet->config();
  const at::Tensor sample =
      at::randn({request.batch, config.in_channels, request.side, request.side});
  const at::Tensor timesteps = at::randint(1000, {request.batch}, at::kLong);
  const at::Tensor text = at::randn({request.batch, 77, config.cross_attention_dim});
  return {unet->parameters(), [=] { return unet->forward(sample, timesteps, text); }};
}

Case make_text_encoder(const Request& request) {
  const auto encoder = std::make_shared<TextEncoder>(request.preset.text_encoder);
  const at::Tensor ids = at::randint(encoder->config().vocab_size, {request.batch, 77}, at::kLong);
  return {encoder->parameters(), [=] { return encoder->forward(ids); }};
}

Case make_vae(const Request& request) {
  const auto vae = std::make_shared<Vae>(request.preset.vae);
  if (request.network == "vae_encoder") {
    const int64_t side = request.side * vae->config().downscale();
    const at::Tensor images = at::rand({request.batch, vae->config().in_channels, side, side});
    return {vae->parameters(), [=] { return vae->encode(images); }};
  }
  const at::Tensor latents =
      at::randn({request.batch, vae->config().latent_channels, request.side, request.side});
  return {vae->parameters(), [=] { return vae->decode(latents); }};
}

Case make_case(const Request& request, const std::string& dtype) {
  Case made = request.network == "unet"           ? make_unet(request)
              : request.network == "text_encoder" ? make_text_encoder(request)
                                                  : make_vae(request);
  for (const Parameter& parameter : made.parameters) parameter.tensor.uniform_(-0.02, 0.02);
  if (dtype == "bf16") convert_parameters(made.parameters, at::kBFloat16);
  return made;
}

std::string config_of(const Request& request) {
  if (request.network == "unet") return request.preset.unet.to_json().dump();
  if (request.network == "text_encoder") return request.preset.text_encoder.to_json().dump();
  return request.preset.vae.to_json().dump();
}

double time_pass(const Case& subject, bool backward) {
  const auto start = std::chrono::steady_clock::now();
  {
    const at::AutoGradMode record(backward);
    for (const Parameter& parameter : subject.parameters)
      parameter.tensor.set_requires_grad(backward);
    const at::Tensor output = subject.forward();
    if (backward) output.to(at::kFloat).square().mean().backward();
  }
  const auto end = std::chrono::steady_clock::now();
  for (const Parameter& parameter : subject.parameters) parameter.tensor.mutable_grad().reset();
  return std::chrono::duration<double>(end - start).count();
}

}  // namespace

int main(int argc, char** argv) {
  at::set_num_threads(argc > 1 ? std::stoi(argv[1]) : 1);
  Case subject;
  for (std::string line; std::getline(std::cin, line);) {
    std::istringstream words(line);
    std::string command, preset, dtype;
    Request request;
    words >> command;
    if (command == "config" || command == "load") {
      words >> preset >> request.network >> dtype >> request.batch >> request.side;
      request.preset = find_preset(preset);
    }
    if (command == "config") {
      std::cout << config_of(request) << std::endl;
    } else if (command == "load") {
      subject = {};
      subject = make_case(request, dtype);
      std::cout << "ok" << std::endl;
    } else {
      std::cout << time_pass(subject, command == "backward") << std::endl;
    }
  }
}
