#include "model/stable_diffusion/ldm_names.h"

#include <array>
#include <charconv>
#include <span>

#include "base/error.h"

namespace kessoku::model {

namespace {

using Words = std::span<const std::string>;
using Renames = std::span<const std::pair<std::string_view, std::string_view>>;

std::vector<std::string> split(const std::string& name) {
  std::vector<std::string> words;
  size_t begin = 0;
  for (size_t dot; (dot = name.find('.', begin)) != std::string::npos; begin = dot + 1) {
    words.push_back(name.substr(begin, dot - begin));
  }
  words.push_back(name.substr(begin));
  return words;
}

std::string join(Words words) { return fmt::format("{}", fmt::join(words, ".")); }

/// The words with the first one renamed, if it is in `renames`.
std::string rename_first(Words words, Renames renames) {
  for (const auto& [from, to] : renames) {
    if (words[0] == from) return fmt::format("{}.{}", to, join(words.subspan(1)));
  }
  return join(words);
}

[[noreturn]] void throw_unknown(const std::string& name) {
  throw Error(ExitCode::kInternal, fmt::format("LDM has no name for \"{}\"", name));
}

int64_t number(const std::string& word, const std::string& name) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
  if (error != std::errc() || end != word.data() + word.size()) throw_unknown(name);
  return value;
}

constexpr std::array<std::pair<std::string_view, std::string_view>, 6> kUNetResnet{
    {{"norm1", "in_layers.0"},
     {"conv1", "in_layers.2"},
     {"norm2", "out_layers.0"},
     {"conv2", "out_layers.3"},
     {"time_emb_proj", "emb_layers.1"},
     {"conv_shortcut", "skip_connection"}}};

constexpr std::array<std::pair<std::string_view, std::string_view>, 1> kVaeResnet{
    {{"conv_shortcut", "nin_shortcut"}}};

constexpr std::array<std::pair<std::string_view, std::string_view>, 4> kVaeAttention{
    {{"group_norm", "norm"}, {"to_q", "q"}, {"to_k", "k"}, {"to_v", "v"}}};

constexpr std::array<std::pair<std::string_view, std::string_view>, 5> kUNetEnds{
    {{"conv_in.", "input_blocks.0.0."},
     {"time_embedding.linear_1.", "time_embed.0."},
     {"time_embedding.linear_2.", "time_embed.2."},
     {"conv_norm_out.", "out.0."},
     {"conv_out.", "out.2."}}};

std::string vae_attention(Words words) {
  if (words[0] == "to_out") return "proj_out." + join(words.subspan(2));  // to_out.0.weight
  return rename_first(words, kVaeAttention);
}

/// Residual blocks in the down path's block `level`.
int64_t layers(const UNetConfig& config, int64_t level) {
  const std::vector<int64_t>& all = config.layers_per_block;
  return all[all.size() == 1 ? 0 : static_cast<size_t>(level)];
}

/// LDM counts through the blocks of all levels. Downwards conv_in is the first one and each
/// downsampler one more …
int64_t first_input_block(const UNetConfig& config, int64_t level) {
  int64_t first = 1;
  for (int64_t i = 0; i < level; ++i) first += layers(config, i) + 1;
  return first;
}

/// … upwards each level has one more for the output of the downsampler.
int64_t first_output_block(const UNetConfig& config, int64_t level) {
  const auto levels = static_cast<int64_t>(config.block_out_channels.size());
  int64_t first = 0;
  for (int64_t i = 0; i < level; ++i) first += layers(config, levels - 1 - i) + 1;
  return first;
}

}  // namespace

std::string ldm_unet_name(const UNetConfig& config, const std::string& name) {
  for (const auto& [from, to] : kUNetEnds) {
    if (name.starts_with(from)) return std::string(to) + name.substr(from.size());
  }
  const std::vector<std::string> all = split(name);
  if (all.size() < 4) throw_unknown(name);
  const Words words = all;
  if (words[0] == "mid_block") {  // mid_block.resnets.0.…
    const int64_t index = number(words[2], name);
    if (words[1] == "attentions") return "middle_block.1." + join(words.subspan(3));
    return fmt::format("middle_block.{}.{}", 2 * index,
                       rename_first(words.subspan(3), kUNetResnet));
  }
  const int64_t level = number(words[1], name), index = number(words[3], name);
  const Words rest = words.subspan(4);
  const bool down = words[0] == "down_blocks";
  const int64_t first = down ? first_input_block(config, level) : first_output_block(config, level);
  const std::string block =
      fmt::format("{}.{}", down ? "input_blocks" : "output_blocks", first + index);
  if (words[2] == "resnets") return block + ".0." + rename_first(rest, kUNetResnet);
  if (words[2] == "attentions") return block + ".1." + join(rest);
  if (words[2] == "downsamplers") {  // downsamplers.0.conv.weight: a block of its own
    return fmt::format("input_blocks.{}.0.op.{}", first_input_block(config, level + 1) - 1,
                       join(rest.subspan(1)));
  }
  if (words[2] == "upsamplers") {  // follows the level's last resnet, and attention if it has any
    const std::string& type = config.up_block_types.at(static_cast<size_t>(level));
    return fmt::format("output_blocks.{}.{}.{}", first_output_block(config, level + 1) - 1,
                       type.starts_with("CrossAttn") ? 2 : 1, join(rest));
  }
  throw_unknown(name);
}

std::string ldm_vae_name(const VaeConfig& config, const std::string& name) {
  const std::vector<std::string> all = split(name);
  const Words words = all;
  const std::string& half = words[0];
  if (half == "quant_conv" || half == "post_quant_conv") return name;
  if (words.size() < 3) throw_unknown(name);
  if (words[1] == "conv_in" || words[1] == "conv_out") return name;
  if (words[1] == "conv_norm_out") return half + ".norm_out." + join(words.subspan(2));
  if (words.size() < 5) throw_unknown(name);
  if (words[1] == "mid_block") {  // encoder.mid_block.resnets.0.…
    if (words[2] == "attentions") return half + ".mid.attn_1." + vae_attention(words.subspan(4));
    return fmt::format("{}.mid.block_{}.{}", half, number(words[3], name) + 1,
                       rename_first(words.subspan(4), kVaeResnet));
  }
  // encoder.down_blocks.1.resnets.0.…; upwards LDM counts levels from the finest, too.
  const bool down = words[1] == "down_blocks";
  const int64_t level = number(words[2], name);
  const auto levels = static_cast<int64_t>(config.block_out_channels.size());
  const std::string block = down ? fmt::format("{}.down.{}", half, level)
                                 : fmt::format("{}.up.{}", half, levels - 1 - level);
  if (words[3] == "resnets") {
    return fmt::format("{}.block.{}.{}", block, words[4],
                       rename_first(words.subspan(5), kVaeResnet));
  }
  if (words[3] == "attentions") {
    return fmt::format("{}.attn.{}.{}", block, words[4], vae_attention(words.subspan(5)));
  }
  return fmt::format("{}.{}.{}", block, down ? "downsample" : "upsample", join(words.subspan(5)));
}

std::string ldm_ema_name(const std::string& name) {
  std::string joined = name.substr(std::string_view("model.").size());
  std::erase(joined, '.');
  return "model_ema." + joined;
}

}  // namespace kessoku::model
