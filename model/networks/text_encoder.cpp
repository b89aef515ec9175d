#include "model/networks/text_encoder.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/sigmoid.h>

#include "base/error.h"
#include "base/json_fields.h"
#include "model/networks/attention.h"
#include "model/networks/checkpointing.h"

namespace kessoku::model {

using nlohmann::json;

namespace {

struct EncoderLayer {
  EncoderLayer(const ParameterScope& scope, const TextEncoderConfig& config)
      : norm1(scope / "layer_norm1", config.hidden_size, config.layer_norm_eps),
        q(scope / "self_attn.q_proj", config.hidden_size, config.hidden_size),
        k(scope / "self_attn.k_proj", config.hidden_size, config.hidden_size),
        v(scope / "self_attn.v_proj", config.hidden_size, config.hidden_size),
        out(scope / "self_attn.out_proj", config.hidden_size, config.hidden_size),
        norm2(scope / "layer_norm2", config.hidden_size, config.layer_norm_eps),
        fc1(scope / "mlp.fc1", config.hidden_size, config.intermediate_size),
        fc2(scope / "mlp.fc2", config.intermediate_size, config.hidden_size),
        heads(config.num_attention_heads),
        quick(config.hidden_act == "quick_gelu") {}

  at::Tensor operator()(at::Tensor x) const {
    const at::Tensor normed = norm1(x);
    x = x + out(multi_head_attention(q(normed), k(normed), v(normed), heads, /*causal=*/true));
    return x + fc2(activate(fc1(norm2(x))));
  }

  at::Tensor activate(const at::Tensor& x) const {
    return quick ? x * at::sigmoid(1.702 * x) : at::gelu(x);
  }

  LayerNorm norm1;
  Linear q, k, v, out;
  LayerNorm norm2;
  Linear fc1, fc2;
  int64_t heads;
  bool quick;
};

size_t layers_used(const TextEncoderConfig& config, int64_t clip_skip) {
  if (clip_skip < 0 || clip_skip > config.num_hidden_layers) {
    throw UsageError(fmt::format("clip_skip {}: the text encoder has {} layers", clip_skip,
                                 config.num_hidden_layers));
  }
  return static_cast<size_t>(config.num_hidden_layers - clip_skip);
}

}  // namespace

struct TextEncoder::Impl {
  Impl(const TextEncoderConfig& config, at::Device device)
      : config(config),
        root(parameters, "text_model", device),
        token_embedding(root / "embeddings.token_embedding", config.vocab_size, config.hidden_size),
        position_embedding(root / "embeddings.position_embedding", config.max_position_embeddings,
                           config.hidden_size) {
    notice.end_block(parameters);
    for (int64_t i = 0; i < config.num_hidden_layers; ++i) {
      layers.emplace_back(root / "encoder.layers" / i, config);
      notice.end_block(parameters);
    }
    final_norm.emplace(root / "final_layer_norm", config.hidden_size, config.layer_norm_eps);
    notice.end_block(parameters);
  }

  TextEncoderConfig config;
  bool checkpointing = false;
  ForwardHook notice;
  Parameters parameters;
  ParameterScope root;
  Embedding token_embedding;
  Embedding position_embedding;
  std::vector<EncoderLayer> layers;
  std::optional<LayerNorm> final_norm;
};

TextEncoder::TextEncoder(const TextEncoderConfig& config, at::Device device)
    : impl_(std::make_unique<Impl>(config, device)) {}
TextEncoder::TextEncoder(TextEncoder&&) noexcept = default;
TextEncoder& TextEncoder::operator=(TextEncoder&&) noexcept = default;
TextEncoder::~TextEncoder() = default;

at::Tensor TextEncoder::forward(const at::Tensor& input_ids, int64_t clip_skip) const {
  const Impl& net = *impl_;
  const size_t used = layers_used(net.config, clip_skip);
  net.notice.announce(0, net.parameters);
  const at::Tensor positions = net.position_embedding.weight.narrow(0, 0, input_ids.size(1));
  at::Tensor x = net.token_embedding(input_ids) + positions;
  for (size_t i = 0; i < used; ++i) {
    const EncoderLayer& layer = net.layers[i];
    net.notice.announce(1 + i, net.parameters);
    x = run_block(net.checkpointing, {x}, [&layer](const Tensors& in) { return layer(in[0]); });
  }
  net.notice.announce(1 + net.layers.size(), net.parameters);
  return (*net.final_norm)(x);
}

void TextEncoder::set_gradient_checkpointing(bool on) { impl_->checkpointing = on; }
void TextEncoder::set_before_use(BeforeUse before_use) {
  impl_->notice.before_use = std::move(before_use);
}

const TextEncoderConfig& TextEncoder::config() const { return impl_->config; }
const Parameters& TextEncoder::parameters() const { return impl_->parameters; }

Parameters TextEncoder::used_parameters(int64_t clip_skip) const {
  const size_t used = layers_used(impl_->config, clip_skip);
  std::vector<std::string> left_out;
  for (size_t i = used; i < impl_->layers.size(); ++i)
    left_out.push_back(fmt::format("text_model.encoder.layers.{}.", i));
  Parameters parameters = impl_->parameters;
  std::erase_if(parameters, [&](const Parameter& parameter) {
    return std::ranges::any_of(
        left_out, [&](const std::string& prefix) { return parameter.name.starts_with(prefix); });
  });
  return parameters;
}

TextEncoderConfig TextEncoderConfig::from_json(const json& json, const std::string& where) {
  // The config of a whole CLIP model, vision tower and all: transformers takes its text encoder.
  if (json.is_object() && json.value("model_type", nlohmann::json()) == "clip" &&
      json.contains("text_config"))
    return from_json(json["text_config"], where + ": text_config");
  const JsonFields reader(json, where);
  reader.require("model_type", {"clip_text_model"});
  TextEncoderConfig config;
  reader.read("vocab_size", config.vocab_size);
  reader.read("hidden_size", config.hidden_size);
  reader.read("intermediate_size", config.intermediate_size);
  reader.read("num_hidden_layers", config.num_hidden_layers, 1024);
  reader.read("num_attention_heads", config.num_attention_heads);
  reader.read("max_position_embeddings", config.max_position_embeddings);
  reader.read("layer_norm_eps", config.layer_norm_eps);
  reader.read("hidden_act", config.hidden_act);
  if (config.hidden_act != "quick_gelu" && config.hidden_act != "gelu") {
    reader.fail("hidden_act", "must be \"quick_gelu\" or \"gelu\"");
  }
  if (config.hidden_size % config.num_attention_heads != 0) {
    reader.fail("hidden_size", fmt::format("{} is not a multiple of the {} attention heads",
                                           config.hidden_size, config.num_attention_heads));
  }
  return config;
}

json TextEncoderConfig::to_json() const {
  // The special token numbers are those of SD 1.5's own config; what is used of the network does
  // not depend on them.
  return {{"architectures", {"CLIPTextModel"}},
          {"attention_dropout", 0.0},
          {"bos_token_id", 0},
          {"dropout", 0.0},
          {"eos_token_id", 2},
          {"hidden_act", hidden_act},
          {"hidden_size", hidden_size},
          {"initializer_factor", 1.0},
          {"initializer_range", 0.02},
          {"intermediate_size", intermediate_size},
          {"layer_norm_eps", layer_norm_eps},
          {"max_position_embeddings", max_position_embeddings},
          {"model_type", "clip_text_model"},
          {"num_attention_heads", num_attention_heads},
          {"num_hidden_layers", num_hidden_layers},
          {"pad_token_id", 1},
          {"projection_dim", hidden_size},
          {"torch_dtype", "float32"},
          {"vocab_size", vocab_size}};
}

}  // namespace kessoku::model
