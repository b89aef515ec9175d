#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>

#include "model/networks/forward_hook.h"

namespace kessoku::model {

/// The fields of transformers' CLIPTextConfig.
struct TextEncoderConfig {
  int64_t vocab_size = 49408;
  int64_t hidden_size = 768;
  int64_t intermediate_size = 3072;
  int64_t num_hidden_layers = 12;
  int64_t num_attention_heads = 12;
  int64_t max_position_embeddings = 77;
  double layer_norm_eps = 1e-5;
  std::string hidden_act = "quick_gelu";  ///< or "gelu"

  static TextEncoderConfig from_json(const nlohmann::json& json, const std::string& where);
  nlohmann::json to_json() const;
};

/// CLIPTextModel; parameter names carry the "text_model." prefix.
class TextEncoder {
 public:
  explicit TextEncoder(const TextEncoderConfig& config, at::Device device = at::kCPU);
  TextEncoder(TextEncoder&&) noexcept;
  TextEncoder& operator=(TextEncoder&&) noexcept;
  ~TextEncoder();

  /// input_ids (B, T) int64, T at most the config's max_position_embeddings. Returns the states
  /// (B, T, hidden_size) after the final layer norm: with `clip_skip` 0 transformers'
  /// last_hidden_state, else what diffusers makes of that clip_skip: the last `clip_skip` layers
  /// are left out. Throws UsageError if the encoder has fewer.
  at::Tensor forward(const at::Tensor& input_ids, int64_t clip_skip = 0) const;

  /// By layer; see run_block (model/networks/checkpointing.h). Off at first.
  void set_gradient_checkpointing(bool on);
  void set_before_use(BeforeUse before_use);

  const TextEncoderConfig& config() const;
  const Parameters& parameters() const;
  /// Those that forward uses with this `clip_skip`: what can be trained.
  Parameters used_parameters(int64_t clip_skip) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace kessoku::model
