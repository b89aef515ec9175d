// Forward passes and gradients against diffusers and transformers, for many shapes.
#include <ATen/TensorOperators.h>
#include <ATen/ops/abs.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/json_fields.h"
#include "model/networks/text_encoder.h"
#include "model/networks/unet.h"
#include "model/networks/vae.h"
#include "model/weights/safetensors.h"
#include "model/weights/stored_weights.h"
#include "tests/model/python_oracle.h"

namespace kessoku::model {
namespace {

using std::filesystem::path;

constexpr double kForwardTolerance = 2e-4;
constexpr double kGradientTolerance = 1e-3;
/// Of the error of diffusers' own bf16 results, against fp32.
constexpr double kBFloat16Excess = 1.25;

double length_of(const at::Tensor& x) {
  return x.to(at::kDouble).square().sum().sqrt().item<double>();
}

double distance(const at::Tensor& a, const at::Tensor& b) {
  return length_of(a.to(at::kFloat) - b.to(at::kFloat));
}

/// The recorded tensor "<prefix>.<name>"; undefined if there is none.
at::Tensor gradient(const SafetensorsFile& io, const std::string& prefix, const std::string& name) {
  const std::string short_name = name.substr(name.find('.') + 1);  // transformers 5
  for (const std::string& theirs : {prefix + "." + name, prefix + "." + short_name}) {
    if (io.contains(theirs)) return io.tensor(theirs);
  }
  return {};
}

size_t count_gradients(const SafetensorsFile& io) {
  const std::vector<std::string> names = io.names();
  return static_cast<size_t>(
      std::ranges::count_if(names, [](const auto& name) { return name.starts_with("grad."); }));
}

/// Compares output and, after backward, the gradients of all parameters.
void compare(const SafetensorsFile& io, const Parameters& parameters, const at::Tensor& output) {
  const at::Tensor expected = io.tensor("output");
  ASSERT_EQ(output.sizes(), expected.sizes());
  EXPECT_LE((output - expected).abs().max().item<double>(), kForwardTolerance);

  output.backward(io.tensor("grad_output"));
  double largest = 0;
  for (const auto& [name, tensor] : parameters) {
    const at::Tensor wanted = gradient(io, "grad", name);
    if (wanted.defined()) largest = std::max(largest, length_of(wanted));
  }
  size_t compared = 0;
  std::pair<double, std::string> worst;
  for (const auto& [name, tensor] : parameters) {
    const at::Tensor wanted = gradient(io, "grad", name);
    ASSERT_EQ(wanted.defined(), tensor.grad().defined()) << name;
    if (!wanted.defined()) continue;
    // Some gradients are zero but for rounding, as a key's bias before a softmax is.
    const double allowed = kGradientTolerance * length_of(wanted) + 1e-6 * largest;
    worst = std::max(worst, {distance(tensor.grad(), wanted) / allowed, name});
    ++compared;
  }
  EXPECT_LE(worst.first, 1) << worst.second << ", in units of what is allowed";
  EXPECT_EQ(compared, count_gradients(io));
}

/// In bf16 we must be as near to fp32 as diffusers is, output and gradients.
void compare_bf16(const SafetensorsFile& io, const Parameters& parameters,
                  const at::Tensor& output) {
  EXPECT_EQ(output.scalar_type(), at::kBFloat16);
  const at::Tensor exact = io.tensor("output");
  const double theirs = distance(io.tensor("output_bf16"), exact);
  EXPECT_GT(theirs, 1e-4 * length_of(exact)) << "the oracle did not compute in bf16";
  EXPECT_LE(distance(output, exact), kBFloat16Excess * theirs);

  output.backward(io.tensor("grad_output").to(at::kBFloat16));
  double our_squares = 0, their_squares = 0;
  for (const auto& [name, tensor] : parameters) {
    const at::Tensor wanted = gradient(io, "grad", name);
    if (!wanted.defined()) continue;
    ASSERT_EQ(tensor.grad().scalar_type(), at::kBFloat16) << name;
    our_squares += std::pow(distance(tensor.grad(), wanted), 2);
    their_squares += std::pow(distance(gradient(io, "grad_bf16", name), wanted), 2);
  }
  EXPECT_LE(std::sqrt(our_squares), kBFloat16Excess * std::sqrt(their_squares));
}

at::Tensor forward(const UNet& unet, const SafetensorsFile& io) {
  return unet.forward(io.tensor("sample"), io.tensor("timestep"),
                      io.tensor("encoder_hidden_states"));
}

at::Tensor forward(const TextEncoder& encoder, const SafetensorsFile& io) {
  return encoder.forward(io.tensor("input_ids"));
}

at::Tensor forward(const Vae& vae, const SafetensorsFile& io) {
  return io.contains("sample") ? vae.encode(io.tensor("sample"))
                               : vae.decode(io.tensor("latent_sample"));
}

template <typename Module, typename Config>
int64_t check_module(const path& folder, const std::string& stem) {
  const SafetensorsFile io(folder / "io.safetensors");
  const std::string config_file = (folder / "config.json").string();
  const Config config = Config::from_json(read_json_file(config_file), config_file);
  // What we write of a config describes the same network.
  EXPECT_EQ(Config::from_json(config.to_json(), "again").to_json(), config.to_json());
  const Module module(config);
  load_weights(module.parameters(), folder, stem);
  for (const Parameter& parameter : module.parameters()) parameter.tensor.set_requires_grad(true);
  compare(io, module.parameters(), forward(module, io));
  if (io.contains("output_bf16")) {
    for (const Parameter& parameter : module.parameters()) parameter.tensor.mutable_grad().reset();
    convert_parameters(module.parameters(), at::kBFloat16);
    compare_bf16(io, module.parameters(), forward(module, io));
  }
  return count_elements(module.parameters());
}

/// Returns the number of parameters.
int64_t check_case(const path& folder) {
  const std::string name = folder.filename().string();
  SCOPED_TRACE(name);
  if (name.starts_with("unet"))
    return check_module<UNet, UNetConfig>(folder, "diffusion_pytorch_model");
  if (name.starts_with("text"))
    return check_module<TextEncoder, TextEncoderConfig>(folder, "model");
  return check_module<Vae, VaeConfig>(folder, "diffusion_pytorch_model");
}

TEST(NetworkParity, OutputsAndGradientsEqualDiffusersForAllShapes) {
  const testing::TemporaryFolder fixtures;
  testing::run_oracle("../parity/make_fixtures.py", {fixtures.path().string()});
  size_t cases = 0;
  for (const auto& entry : std::filesystem::directory_iterator(fixtures.path())) {
    check_case(entry.path());
    ++cases;
  }
  EXPECT_EQ(cases, 21u);
}

// Some 9 GB of memory and of disk, one after the other: ctest -R network_parity_full_size.
TEST(NetworkParity, OutputsAndGradientsEqualDiffusersAtFullSize) {
  if (std::getenv("KESSOKU_FULL_SIZE") == nullptr) GTEST_SKIP() << "KESSOKU_FULL_SIZE is not set";
  const testing::TemporaryFolder fixtures;
  testing::run_oracle("../parity/make_fixtures.py", {fixtures.path().string(), "--full-size"});
  EXPECT_EQ(check_case(fixtures.path() / "unet-sd15"), 859'520'964);
  EXPECT_EQ(check_case(fixtures.path() / "text-sd15"), 123'060'480);
  EXPECT_EQ(check_case(fixtures.path() / "vae-sd15-encode"), 83'653'863);
  EXPECT_EQ(check_case(fixtures.path() / "vae-sd15-decode"), 83'653'863);
}

}  // namespace
}  // namespace kessoku::model
