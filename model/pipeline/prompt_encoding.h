#pragma once

#include "model/stable_diffusion/stable_diffusion.h"

namespace kessoku::model {

/// How a prompt becomes what the UNet sees.
struct PromptOptions {
  bool weights = true;    ///< read (word:1.2), [word], BREAK; else the prompt is plain text
  int64_t clip_skip = 0;  ///< layers left out at the encoder's end, as diffusers counts them
  int64_t chunks = 0;     ///< of 75 pieces, at most; 0 = as many as the prompt needs, up to 16
  bool fill = false;      ///< always `chunks` of them, as captions are trained
};

/// A prompt as chunks of 77 ids (start, 75 pieces, end, padding) with a weight each.
struct WeightedTokens {
  std::vector<int64_t> ids;    ///< 77 a chunk, at least one chunk
  std::vector<float> weights;  ///< as many; 1 for start, end and padding
  int64_t truncated = 0;       ///< pieces beyond `PromptOptions::chunks`

  int64_t chunks() const { return static_cast<int64_t>(ids.size()) / 77; }
};

/// Runs of one weight are cut into pieces by themselves; BREAK fills up the chunk.
WeightedTokens tokenize_prompt(const Tokenizer& tokenizer, const std::string& prompt,
                               const PromptOptions& options);

/// Hidden states of several prompts, padded with empty chunks to the longest: (prompts, 77·n, D).
///
/// Weights follow A1111's formula: in each chunk the states z (77, D) are multiplied by their
/// pieces' weights, and then all by mean(z before) / mean(z after), which restores the chunk's
/// mean. Where that factor is not between 1/2 and 2 the mean is next to zero and says nothing: then
/// it is left out.
at::Tensor encode_prompts(const StableDiffusion& model, const std::vector<std::string>& prompts,
                          const PromptOptions& options);

}  // namespace kessoku::model
