#include "model/networks/text_conditioning.h"

#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>

#include "base/error.h"
#include "base/json_fields.h"
#include "model/weights/safetensors.h"
#include "model/weights/stored_weights.h"
#include "tests/model/python_oracle.h"

namespace kessoku::model {
namespace {

using kessoku::testing::largest_difference;

constexpr int64_t kLayers = 4;

TextEncoder load_encoder(const std::filesystem::path& folder) {
  const std::string config = (folder / "config.json").string();
  TextEncoder encoder(TextEncoderConfig::from_json(read_json_file(config), config));
  load_weights(encoder.parameters(), folder, "model");
  return encoder;
}

/// The gradient of `name` in an oracle's file, whichever spelling transformers used.
std::string gradient_name(const SafetensorsFile& oracle, const std::string& name) {
  const std::string whole = "grad." + name;
  return oracle.contains(whole) ? whole : "grad." + name.substr(name.find('.') + 1);
}

TEST(TextConditioning, StatesAndGradientsEqualDiffusersForEveryClipSkipAndThreeChunks) {
  const testing::TemporaryFolder folder;
  testing::run_oracle("networks/text_conditioning_oracle.py", {folder.path().string()});
  const SafetensorsFile ids(folder.path() / "ids.safetensors");
  for (int64_t skip = 0; skip <= kLayers; ++skip) {
    SCOPED_TRACE(skip);
    const SafetensorsFile oracle(folder.path() / fmt::format("skip-{}.safetensors", skip));
    const TextEncoder encoder = load_encoder(folder.path());
    for (const Parameter& parameter : encoder.parameters())
      parameter.tensor.set_requires_grad(true);
    const at::Tensor states = encode_text(encoder, ids.tensor("input_ids"), skip);
    EXPECT_LE(largest_difference(states, oracle.tensor("states")), 2e-5);
    states.backward(oracle.tensor("grad_output"));

    size_t with_gradient = 0;
    for (const auto& [name, tensor] : encoder.parameters()) {
      const std::string theirs = gradient_name(oracle, name);
      ASSERT_EQ(tensor.grad().defined(), oracle.contains(theirs)) << name;
      if (!tensor.grad().defined()) continue;
      ++with_gradient;
      const at::Tensor wanted = oracle.tensor(theirs);
      EXPECT_LE(largest_difference(tensor.grad(), wanted),
                1e-4 * wanted.abs().max().item<double>() + 1e-5)
          << name;
    }
    const Parameters used = encoder.used_parameters(skip);
    EXPECT_EQ(used.size(), with_gradient);
    for (const auto& [name, tensor] : used) EXPECT_TRUE(tensor.grad().defined()) << name;
  }
}

TEST(TextConditioning, RefusesWhatTheEncoderCannotDo) {
  TextEncoderConfig config;
  config.vocab_size = 10;
  config.hidden_size = config.intermediate_size = 8;
  config.num_hidden_layers = 2;
  config.num_attention_heads = 2;
  const TextEncoder encoder(config);
  EXPECT_THROW(encode_text(encoder, at::zeros({1, 77}, at::kLong), 3), UsageError);
  EXPECT_THROW(encode_text(encoder, at::zeros({1, 77}, at::kLong), -1), UsageError);
  EXPECT_THROW(encode_text(encoder, at::zeros({1, 100}, at::kLong)), DataError);
  EXPECT_EQ(encode_text(encoder, at::zeros({3, 154}, at::kLong)).sizes(),
            (std::vector<int64_t>{3, 154, 8}));
}

}  // namespace
}  // namespace kessoku::model
