#include "model/networks/init.h"

#include <cmath>
#include <span>

#include "base/random.h"

namespace kessoku::model {

namespace {

/// More tensors than any network has.
constexpr uint64_t kStreamsPerNetwork = uint64_t{1} << 32;

RandomStream stream_of(Network network, size_t index, uint64_t seed) {
  return RandomStream(seed, Purpose::kInitialWeights,
                      static_cast<uint64_t>(network) * kStreamsPerNetwork + index);
}

std::span<float> values_of(const at::Tensor& tensor) {
  return {tensor.data_ptr<float>(), static_cast<size_t>(tensor.numel())};
}

void fill(const at::Tensor& tensor, float value) {
  for (float& x : values_of(tensor)) x = value;
}

void fill_uniform(const at::Tensor& tensor, double bound, RandomStream stream) {
  const float scale = static_cast<float>(bound) * 0x1.0p-31f;
  for (float& x : values_of(tensor))
    x = static_cast<float>(static_cast<int32_t>(stream.next())) * scale;
}

void fill_normal(const at::Tensor& tensor, double deviation, RandomStream stream) {
  stream.fill_normal(values_of(tensor));
  for (float& x : values_of(tensor)) x *= static_cast<float>(deviation);
}

bool is_bias(const std::string& name) { return name.ends_with(".bias"); }

}  // namespace

void initialize_weights(const Parameters& parameters, Network network, uint64_t seed) {
  double bound = 0;  // of the weight that a bias follows; 0 behind a norm's
  for (size_t i = 0; i < parameters.size(); ++i) {
    const auto& [name, tensor] = parameters[i];
    if (!is_bias(name)) {
      const bool is_norm = tensor.dim() == 1;
      bound = is_norm ? 0 : 1 / std::sqrt(static_cast<double>(tensor.numel() / tensor.size(0)));
      if (is_norm) {
        fill(tensor, 1);
        continue;
      }
    }
    fill_uniform(tensor, bound, stream_of(network, i, seed));
  }
}

void initialize_text_encoder(const TextEncoder& encoder, uint64_t seed) {
  const double width = static_cast<double>(encoder.config().hidden_size);
  const double depth = static_cast<double>(encoder.config().num_hidden_layers);
  const double out = 1 / std::sqrt(width), in = out / std::sqrt(2 * depth);
  const Parameters& parameters = encoder.parameters();
  for (size_t i = 0; i < parameters.size(); ++i) {
    const auto& [name, tensor] = parameters[i];
    if (tensor.dim() == 1) {
      fill(tensor, is_bias(name) ? 0 : 1);
      continue;
    }
    double deviation = in;  // q_proj, k_proj, v_proj, fc2
    if (name.find("embedding") != std::string::npos) deviation = 0.02;
    if (name.ends_with("out_proj.weight")) deviation = out;
    if (name.ends_with("fc1.weight")) deviation = 1 / std::sqrt(2 * width);
    fill_normal(tensor, deviation, stream_of(Network::kTextEncoder, i, seed));
  }
}

}  // namespace kessoku::model
