#include "runtime/run/caption_lengths.h"

#include <fmt/format.h>

#include "data/captions/caption_edit.h"

namespace kessoku::runtime {

CaptionLengths measure_captions(const data::Store& store, const model::Tokenizer& tokenizer,
                                const RunConfig& config, size_t most) {
  CaptionLengths lengths;
  lengths.of = store.size();
  const size_t stride = (store.size() - 1) / most + 1;
  for (size_t example = 0; example < store.size(); example += stride) {
    ++lengths.captions;
    const std::string caption =
        data::rename_words(store.caption(example), config.data.caption_rename);
    const model::TokenizedText text = tokenizer.tokenize(caption, config.data.caption_chunks());
    const int64_t pieces = static_cast<int64_t>(text.pieces.size()) + text.truncated;
    lengths.cut += text.truncated > 0;
    lengths.pieces_cut += text.truncated;
    if (pieces <= lengths.longest) continue;
    lengths.longest = pieces;
    lengths.longest_source = store.source(example);
  }
  return lengths;
}

std::string warning_of(const CaptionLengths& lengths, const RunConfig& config) {
  if (lengths.cut == 0) return {};
  const bool all = lengths.captions == lengths.of;
  std::string text = fmt::format(
      "{} of {} captions{} are longer than data.max_token_length = {}: {} tokens are cut off; the "
      "longest, of {}, has {}",
      lengths.cut, lengths.captions,
      all ? "" : fmt::format(" that were looked at, of {} in all,", lengths.of),
      config.data.max_token_length, lengths.pieces_cut, lengths.longest_source, lengths.longest);
  if (config.data.max_token_length < 225) text += "; 150 or 225 would keep more";
  return text;
}

}  // namespace kessoku::runtime
