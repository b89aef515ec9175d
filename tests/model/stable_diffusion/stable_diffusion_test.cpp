#include "model/stable_diffusion/stable_diffusion.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/ones.h>
#include <gmock/gmock.h>

#include "base/error.h"
#include "base/json_fields.h"
#include "model/weights/safetensors.h"
#include "tests/model/python_oracle.h"

namespace kessoku::model {
namespace {

using kessoku::testing::clip_tokenizer_folder;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

StableDiffusion tiny(uint64_t seed = 1) {
  return create_model("tiny", seed, clip_tokenizer_folder());
}

bool same(const Parameters& a, const Parameters& b) {
  return std::ranges::equal(a, b, [](const Parameter& x, const Parameter& y) {
    return x.name == y.name && at::equal(x.tensor, y.tensor);
  });
}

int64_t count(const Parameters& parameters) {
  int64_t total = 0;
  for (const Parameter& parameter : parameters) total += parameter.tensor.numel();
  return total;
}

/// A tiny model on disk, whose files tests damage.
class ModelFolder : public ::testing::Test {
 protected:
  ModelFolder() { save_model(root(), tiny(), at::kFloat); }

  std::filesystem::path root() const { return folder_.path() / "model"; }
  std::filesystem::path unet_file() const {
    return root() / "unet/diffusion_pytorch_model.safetensors";
  }

  /// Rewrites a weight file after `change` saw its tensors.
  void rewrite(const std::filesystem::path& path,
               const std::function<void(Parameters&)>& change) const {
    Parameters tensors;
    {
      const SafetensorsFile file(path);
      for (const std::string& name : file.names())
        tensors.push_back({name, file.tensor(name).clone()});
    }
    change(tensors);
    write_safetensors(path, tensors);
  }
  void expect_refused(const std::string& why, const std::string& where) const {
    EXPECT_THAT([&] { load_model(root()); },
                ThrowsMessage<DataError>(AllOf(HasSubstr(why), HasSubstr(where))));
  }
  void set_config(const std::string& part, const std::string& key,
                  const nlohmann::json& value) const {
    const std::filesystem::path path = root() / part / "config.json";
    nlohmann::json config = read_json_file(path.string());
    config[key] = value;
    write_file_atomically(path, config.dump());
  }

  kessoku::testing::TemporaryFolder folder_;
};

TEST(CreateModel, IsAFunctionOfTheSeed) {
  const StableDiffusion a = tiny(7), b = tiny(7), c = tiny(8);
  EXPECT_TRUE(same(a.unet.parameters(), b.unet.parameters()));
  EXPECT_TRUE(same(a.text_encoder.parameters(), b.text_encoder.parameters()));
  EXPECT_TRUE(same(a.vae.parameters(), b.vae.parameters()));
  EXPECT_FALSE(same(a.unet.parameters(), c.unet.parameters()));
}

TEST(CreateModel, SpreadsWeightsAsPyTorchDoes) {
  const StableDiffusion model = tiny();
  for (const auto& [name, tensor] : model.unet.parameters()) {
    if (name != "down_blocks.0.resnets.0.conv1.weight") continue;
    const double bound = 1 / std::sqrt(64.0 * 9);
    EXPECT_LE(tensor.abs().max().item<double>(), bound);
    EXPECT_NEAR(tensor.std().item<double>(), bound / std::sqrt(3.0), 0.01 * bound);
    EXPECT_NEAR(tensor.mean().item<double>(), 0, 0.01 * bound);
  }
  for (const auto& [name, tensor] : model.text_encoder.parameters()) {
    if (name.ends_with("token_embedding.weight")) {
      EXPECT_NEAR(tensor.std().item<double>(), 0.02, 2e-4);
    }
    if (name.ends_with("layer_norm1.weight")) {
      EXPECT_TRUE(at::equal(tensor, at::ones({64})));
    }
  }
}

TEST(CreateModel, NamesThePresetsThatThereAre) {
  EXPECT_THAT([] { create_model("sdxl", 0, clip_tokenizer_folder()); },
              ThrowsMessage<UsageError>(HasSubstr("sd15")));
}

TEST(Networks, HaveTheSizeOfStableDiffusion15) {
  EXPECT_EQ(count(UNet(UNetConfig{}).parameters()), 859'520'964);
  EXPECT_EQ(UNet(UNetConfig{}).parameters().size(), 686u);
  EXPECT_EQ(count(TextEncoder(TextEncoderConfig{}).parameters()), 123'060'480);
  EXPECT_EQ(TextEncoder(TextEncoderConfig{}).parameters().size(), 196u);
  EXPECT_EQ(count(Vae(VaeConfig{}).parameters()), 83'653'863);
  EXPECT_EQ(Vae(VaeConfig{}).parameters().size(), 248u);
}

TEST(Networks, FollowTheirParametersToOtherStorage) {
  const StableDiffusion model = tiny();
  const at::Tensor ids = at::arange(77).unsqueeze(0);
  const at::Tensor before = model.text_encoder.forward(ids);
  for (const auto& [name, tensor] : model.text_encoder.parameters()) tensor.set_data(tensor.mul(0));
  EXPECT_FALSE(at::equal(before, model.text_encoder.forward(ids)));
}

TEST_F(ModelFolder, ReadsBackBitByBit) {
  const StableDiffusion saved = tiny(), read = load_model(root());
  EXPECT_TRUE(same(saved.unet.parameters(), read.unet.parameters()));
  EXPECT_TRUE(same(saved.text_encoder.parameters(), read.text_encoder.parameters()));
  EXPECT_TRUE(same(saved.vae.parameters(), read.vae.parameters()));
  EXPECT_EQ(read.tokenizer.tokenize("a cat").ids, saved.tokenizer.tokenize("a cat").ids);
  EXPECT_EQ(vae_digest(saved.vae), vae_digest(read.vae));
}

TEST_F(ModelFolder, ReadsHalfPrecisionAsFp32) {
  save_model(root(), tiny(), at::kHalf);
  std::filesystem::rename(unet_file(), root() / "unet/diffusion_pytorch_model.fp16.safetensors");
  const StableDiffusion saved = tiny(), read = load_model(root());
  const at::Tensor expected = saved.unet.parameters()[0].tensor;
  EXPECT_TRUE(at::equal(read.unet.parameters()[0].tensor, expected.to(at::kHalf).to(at::kFloat)));
}

TEST_F(ModelFolder, TakesTransformers5AndOldDiffusersNames) {
  rewrite(root() / "text_encoder/model.safetensors", [](Parameters& tensors) {
    for (Parameter& tensor : tensors)
      tensor.name = tensor.name.substr(std::string("text_model.").size());
    tensors.push_back({"embeddings.position_ids", at::arange(77).unsqueeze(0)});
  });
  rewrite(root() / "vae/diffusion_pytorch_model.safetensors", [](Parameters& tensors) {
    for (Parameter& tensor : tensors) {
      for (const auto& [now, once] : {std::pair{".to_q.", ".query."},
                                      {".to_k.", ".key."},
                                      {".to_v.", ".value."},
                                      {".to_out.0.", ".proj_attn."}}) {
        const size_t at = tensor.name.find(now);
        if (at != std::string::npos) tensor.name.replace(at, std::string(now).size(), once);
      }
    }
  });
  const StableDiffusion saved = tiny(), read = load_model(root());
  EXPECT_TRUE(same(saved.text_encoder.parameters(), read.text_encoder.parameters()));
  EXPECT_TRUE(same(saved.vae.parameters(), read.vae.parameters()));
}

TEST_F(ModelFolder, NamesFileAndTensorThatIsMissing) {
  rewrite(unet_file(), [](Parameters& tensors) {
    std::erase_if(tensors, [](const Parameter& tensor) { return tensor.name == "conv_in.weight"; });
  });
  expect_refused("\"conv_in.weight\" [64, 16, 3, 3] is missing", unet_file().string());
}

TEST_F(ModelFolder, NamesTheTensorThatIsTooMany) {
  rewrite(unet_file(), [](Parameters& tensors) {
    tensors.push_back({"conv_in.lora", at::ones({1})});
  });
  expect_refused("\"conv_in.lora\" is not part of the network", unet_file().string());
}

TEST_F(ModelFolder, NamesTheShapesThatDiffer) {
  rewrite(unet_file(), [](Parameters& tensors) {
    for (Parameter& tensor : tensors)
      if (tensor.name == "conv_in.bias") tensor.tensor = at::ones({5});
  });
  expect_refused("\"conv_in.bias\" has shape [5], but the config asks for [64]",
                 unet_file().string());
}

TEST_F(ModelFolder, NamesTheConfigFieldThatIsWrong) {
  set_config("unet", "layers_per_block", "two");
  expect_refused("\"layers_per_block\"", "unet/config.json");
  save_model(root(), tiny(), at::kFloat);
  set_config("unet", "class_embed_type", "timestep");
  expect_refused("\"class_embed_type\"", "unet/config.json");
  save_model(root(), tiny(), at::kFloat);
  set_config("text_encoder", "hidden_size", -64);
  expect_refused("\"hidden_size\"", "text_encoder/config.json");
}

TEST_F(ModelFolder, RefusesNestingThatOverflowsTheStack) {
  constexpr size_t kDepth = 200'000;  // of a value that would be printed
  write_file_atomically(root() / "unet/config.json",
                        "{\"act_fn\":" + std::string(kDepth, '[') + std::string(kDepth, ']') + "}");
  expect_refused("nested too deeply", "unet/config.json");
}

TEST_F(ModelFolder, TakesNoMemoryForWhatAConfigClaims) {
  set_config("unet", "block_out_channels", {1 << 20, 1 << 20});
  expect_refused("but the config asks for [1048576, ", unet_file().string());
}

TEST_F(ModelFolder, SaysWhatMakesAModelFolder) {
  std::filesystem::remove_all(root() / "vae");
  EXPECT_THAT([&] { load_model(root()); },
              ThrowsMessage<UsageError>(HasSubstr("there is no vae/")));
}

TEST(VaeDigest, ChangesWithTheWeights) {
  const StableDiffusion model = tiny();
  const std::string before = vae_digest(model.vae);
  model.vae.parameters().back().tensor.add_(1);
  EXPECT_NE(vae_digest(model.vae), before);
  EXPECT_EQ(before.size(), 16u);
}

}  // namespace
}  // namespace kessoku::model
