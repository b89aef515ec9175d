#pragma once

#include <filesystem>

#include "model/text/bpe.h"
#include "model/text/caption_words.h"

namespace kessoku::model {

/// What a tokenizer folder says.
struct TokenizerFiles {
  Bpe bpe;
  std::vector<SpecialToken> specials;  ///< start and end among them
  int64_t pad_id;
  FrontEnd front_end;  ///< as saved by us; "hf-fast" where nothing is said
};

/// Reads a folder's tokenizer.json, or, if it is not there, vocab.json and merges.txt; or a file of
/// the first kind; and special_tokens_map.json and tokenizer_config.json beside them, if they are
/// there. Where there are both, and they differ, there is a warning. Throws UsageError if there is
/// no tokenizer, DataError, naming file and entry, if one is malformed.
TokenizerFiles read_tokenizer_files(const std::filesystem::path& place);

/// Writes vocab.json, merges.txt, tokenizer_config.json and special_tokens_map.json, as
/// transformers reads them.
void write_tokenizer_files(const std::filesystem::path& folder, const TokenizerFiles& files);

}  // namespace kessoku::model
