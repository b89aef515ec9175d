#include "runtime/caption_lengths.h"

#include <fmt/format.h>

#include "data/caption_edit.h"

namespace kessoku::runtime {

CaptionLengths measure_captions(const data::Store& store, const model::Tokenizer& tokenizer,
                                const RunConfig& config) {
  CaptionLengths lengths;
  lengths.captions = store.size();
  for (size_t example = 0; example < store.size(); ++example) {
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
  std::string text = fmt::format(
      "{} of {} captions are longer than data.max_token_length = {}: {} tokens are cut off; the "
      "longest, of {}, has {}",
      lengths.cut, lengths.captions, config.data.max_token_length, lengths.pieces_cut,
      lengths.longest_source, lengths.longest);
  if (config.data.max_token_length < 225) text += "; 150 or 225 would keep more";
  return text;
}

}  // namespace kessoku::runtime
