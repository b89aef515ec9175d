#pragma once

#include <nlohmann/json_fwd.hpp>

#include "model/text/bpe.h"
#include "model/text/caption_words.h"

namespace kessoku::model {

/// Which tokens are special, and which one pads.
struct SpecialTokens {
  std::vector<SpecialToken> tokens;
  int64_t pad_id;
};

/// As transformers understands a tokenizer folder: `config` is tokenizer_config.json, `map`
/// special_tokens_map.json, `added` the list added_tokens of tokenizer.json; empty objects or null
/// where a file is not there. A token is looked for in the normalized text where its entry says
/// so; with nothing said, start, end and padding (also the end) are looked for in the text as
/// given. Throws DataError, naming `where`, on a malformed entry.
SpecialTokens read_special_tokens(const nlohmann::json& config, const nlohmann::json& map,
                                  const nlohmann::json& added, const Bpe& bpe,
                                  const std::string& where);

/// special_tokens_map.json; its entries also belong into tokenizer_config.json.
nlohmann::json describe_roles(const SpecialTokens& specials, const Bpe& bpe);

/// added_tokens_decoder of tokenizer_config.json; an empty object if the roles say all.
nlohmann::json describe_added_tokens(const SpecialTokens& specials, const Bpe& bpe);

}  // namespace kessoku::model
