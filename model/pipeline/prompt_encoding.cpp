#include "model/pipeline/prompt_encoding.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/mean.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>

#include "model/networks/text_conditioning.h"
#include "model/pipeline/prompt.h"

namespace kessoku::model {

namespace {

constexpr size_t kContext = 77;
constexpr size_t kChunk = kContext - 2;  // without start and end
constexpr int64_t kMostChunks = 16;      // prompts may come from strangers' files
constexpr double kLargestWeight = 1e4;   // brackets in brackets; states must stay finite

/// All pieces of a text, without start, end and padding.
std::vector<int64_t> pieces_of(const Tokenizer& tokenizer, const std::string& text) {
  TokenizedText tokens = tokenizer.tokenize(text);
  if (tokens.truncated > 0) {
    const size_t pieces = tokens.pieces.size() + static_cast<size_t>(tokens.truncated);
    tokens = tokenizer.tokenize(text, static_cast<int64_t>((pieces + kChunk - 1) / kChunk));
  }
  std::vector<int64_t> ids;
  for (size_t i = 0; i < tokens.pieces.size(); ++i)
    ids.push_back(tokens.ids[i / kChunk * kContext + 1 + i % kChunk]);
  return ids;
}

/// Fills chunk after chunk.
class ChunkWriter {
 public:
  explicit ChunkWriter(const Tokenizer& tokenizer) : empty_(tokenizer.tokenize("").ids) {
    begin_chunk();
  }

  void add(int64_t id, double weight) {
    if (filled_ == kChunk) begin_chunk();
    const size_t place = tokens_.ids.size() - kContext + 1 + filled_++;
    tokens_.ids[place] = id;
    tokens_.weights[place] =
        static_cast<float>(std::clamp(weight, -kLargestWeight, kLargestWeight));
  }

  void break_chunk() {
    if (filled_ > 0) begin_chunk();
  }

  WeightedTokens finish(int64_t least_chunks, int64_t most_chunks) {
    while (tokens_.chunks() < least_chunks) begin_chunk();
    if (tokens_.chunks() > most_chunks) {
      const size_t kept = static_cast<size_t>(most_chunks) * kContext;
      for (size_t i = kept; i < tokens_.ids.size(); i += kContext) {
        const size_t end = tokens_.ids.size() - kContext;
        tokens_.truncated += static_cast<int64_t>(i == end ? filled_ : kChunk);
      }
      tokens_.ids.resize(kept);
      tokens_.weights.resize(kept);
    }
    return std::move(tokens_);
  }

 private:
  void begin_chunk() {
    tokens_.ids.insert(tokens_.ids.end(), empty_.begin(), empty_.end());
    tokens_.weights.resize(tokens_.ids.size(), 1);
    filled_ = 0;
  }

  std::vector<int64_t> empty_;
  WeightedTokens tokens_;
  size_t filled_ = 0;  // pieces of the last chunk
};

/// states (n·77, D), weights (n·77, 1).
at::Tensor weigh(const at::Tensor& states, const at::Tensor& weights) {
  std::vector<at::Tensor> chunks;
  for (int64_t i = 0; i < states.size(0); i += static_cast<int64_t>(kContext)) {
    const at::Tensor before = states.narrow(0, i, kContext);
    const at::Tensor after = before * weights.narrow(0, i, kContext);
    const double factor = before.mean().item<double>() / after.mean().item<double>();
    chunks.push_back(factor >= 0.5 && factor <= 2 ? after * factor : after);
  }
  return at::stack(chunks).flatten(0, 1);
}

}  // namespace

WeightedTokens tokenize_prompt(const Tokenizer& tokenizer, const std::string& prompt,
                               const PromptOptions& options) {
  const std::vector<PromptRun> runs =
      options.weights ? parse_prompt(prompt) : std::vector{PromptRun{prompt}};
  ChunkWriter writer(tokenizer);
  for (const PromptRun& run : runs) {
    if (run.new_chunk) writer.break_chunk();
    for (const int64_t id : pieces_of(tokenizer, run.text)) writer.add(id, run.weight);
  }
  return writer.finish(options.fill ? options.chunks : 1,
                       options.chunks > 0 ? options.chunks : kMostChunks);
}

at::Tensor encode_prompts(const StableDiffusion& model, const std::vector<std::string>& prompts,
                          const PromptOptions& options) {
  std::vector<WeightedTokens> all;
  size_t length = 0;
  for (const std::string& prompt : prompts) {
    all.push_back(tokenize_prompt(model.tokenizer, prompt, options));
    length = std::max(length, all.back().ids.size());
  }
  const std::vector<int64_t> empty = model.tokenizer.tokenize("").ids;
  std::vector<int64_t> ids;
  for (WeightedTokens& tokens : all) {
    while (tokens.ids.size() < length)
      tokens.ids.insert(tokens.ids.end(), empty.begin(), empty.end());
    tokens.weights.resize(length, 1);
    ids.insert(ids.end(), tokens.ids.begin(), tokens.ids.end());
  }
  const at::Device device = model.text_encoder.parameters().front().tensor.device();
  const auto count = static_cast<int64_t>(prompts.size());
  const at::Tensor states =
      encode_text(model.text_encoder, at::tensor(ids, at::kLong).view({count, -1}).to(device),
                  options.clip_skip)
          .to(at::kFloat);
  std::vector<at::Tensor> weighed;
  for (size_t i = 0; i < all.size(); ++i) {
    const at::Tensor own = states[static_cast<int64_t>(i)];
    const auto is_plain = [](float weight) { return weight == 1; };
    if (std::ranges::all_of(all[i].weights, is_plain)) {
      weighed.push_back(own);
    } else {
      weighed.push_back(weigh(own, at::tensor(all[i].weights).unsqueeze(1).to(device)));
    }
  }
  return at::stack(weighed);
}

}  // namespace kessoku::model
