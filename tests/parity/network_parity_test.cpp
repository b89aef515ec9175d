// Forward passes and gradients against diffusers and transformers, for several shapes.
#include <ATen/TensorOperators.h>
#include <ATen/ops/abs.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "model/config_reader.h"
#include "model/safetensors.h"
#include "model/text_encoder.h"
#include "model/unet.h"
#include "model/vae.h"
#include "model/weight_loading.h"
#include "tests/model/python_oracle.h"

namespace kessoku::model {
namespace {

using std::filesystem::path;

constexpr double kForwardTolerance = 2e-4;
constexpr double kGradientTolerance = 1e-3;

template <typename Module, typename Config>
Module load(const path& folder, const std::string& stem) {
  const std::string config = (folder / "config.json").string();
  Module module(Config::from_json(read_json_file(config), config));
  load_weights(module.parameters(), folder, stem);
  for (const Parameter& parameter : module.parameters()) parameter.tensor.set_requires_grad(true);
  return module;
}

double length_of(const at::Tensor& x) { return x.square().sum().sqrt().item<double>(); }

bool is_gradient(const std::string& name) { return name.starts_with("grad."); }

/// Compares output and, after backward, the gradients of all parameters.
void compare(const SafetensorsFile& io, const Parameters& parameters, const at::Tensor& output) {
  const at::Tensor expected = io.tensor("output");
  ASSERT_EQ(output.sizes(), expected.sizes());
  EXPECT_LE((output - expected).abs().max().item<double>(), kForwardTolerance);

  output.backward(io.tensor("grad_output"));
  double largest = 0;
  for (const std::string& name : io.names()) {
    if (is_gradient(name)) largest = std::max(largest, length_of(io.tensor(name)));
  }
  size_t compared = 0;
  for (const auto& [name, tensor] : parameters) {
    std::string theirs = "grad." + name;
    if (!io.contains(theirs)) theirs = "grad." + name.substr(name.find('.') + 1);  // transformers 5
    if (!io.contains(theirs)) {
      EXPECT_FALSE(tensor.grad().defined()) << name;
      continue;
    }
    ASSERT_TRUE(tensor.grad().defined()) << name;
    const at::Tensor wanted = io.tensor(theirs);
    const double off = length_of(tensor.grad() - wanted);
    // Some gradients are zero but for rounding, as a key's bias before a softmax is.
    EXPECT_LE(off, kGradientTolerance * length_of(wanted) + 1e-6 * largest) << name;
    ++compared;
  }
  const std::vector<std::string> names = io.names();
  EXPECT_EQ(compared, static_cast<size_t>(std::ranges::count_if(names, is_gradient)));
}

void check_case(const path& folder) {
  const std::string name = folder.filename().string();
  SCOPED_TRACE(name);
  const SafetensorsFile io(folder / "io.safetensors");
  if (name.starts_with("unet")) {
    const UNet unet = load<UNet, UNetConfig>(folder, "diffusion_pytorch_model");
    compare(io, unet.parameters(),
            unet.forward(io.tensor("sample"), io.tensor("timestep"),
                         io.tensor("encoder_hidden_states")));
  } else if (name.starts_with("text")) {
    const TextEncoder encoder = load<TextEncoder, TextEncoderConfig>(folder, "model");
    compare(io, encoder.parameters(), encoder.forward(io.tensor("input_ids")));
  } else {
    const Vae vae = load<Vae, VaeConfig>(folder, "diffusion_pytorch_model");
    compare(io, vae.parameters(),
            io.contains("sample") ? vae.encode(io.tensor("sample"))
                                  : vae.decode(io.tensor("latent_sample")));
  }
}

TEST(NetworkParity, OutputsAndGradientsEqualDiffusersForAllShapes) {
  const testing::TemporaryFolder fixtures;
  testing::run_oracle("../parity/make_fixtures.py", {fixtures.path().string()});
  size_t cases = 0;
  for (const auto& entry : std::filesystem::directory_iterator(fixtures.path())) {
    check_case(entry.path());
    ++cases;
  }
  EXPECT_EQ(cases, 13u);
}

}  // namespace
}  // namespace kessoku::model
