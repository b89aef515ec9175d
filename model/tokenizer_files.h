#pragma once

#include <filesystem>

#include "model/bpe.h"

namespace kessoku::model {

/// Reads vocab.json and merges.txt in `folder`, or, if they are not there, tokenizer.json. Throws
/// UsageError if neither is there, DataError if they are malformed.
Bpe read_tokenizer_files(const std::filesystem::path& folder);

/// Writes vocab.json, merges.txt, tokenizer_config.json and special_tokens_map.json, as
/// transformers reads them.
void write_tokenizer_files(const std::filesystem::path& folder, const Bpe& bpe);

}  // namespace kessoku::model
