#pragma once

#include "data/store/store.h"
#include "model/text/tokenizer.h"
#include "runtime/config/config.h"

namespace kessoku::runtime {

/// How the captions of a store fit into data.max_token_length.
struct CaptionLengths {
  size_t captions = 0;     ///< that were looked at
  size_t of = 0;           ///< in the store
  size_t cut = 0;          ///< captions that are too long
  int64_t pieces_cut = 0;  ///< of all of them
  int64_t longest = 0;     ///< pieces
  std::string longest_source;
};

/// Tokenizes captions as they are drawn but for dropout and the order of tags: every one once, or,
/// of stores that hold more than `most`, evenly chosen ones.
CaptionLengths measure_captions(const data::Store& store, const model::Tokenizer& tokenizer,
                                const RunConfig& config, size_t most = SIZE_MAX);

/// One line for the user; empty if nothing is cut.
std::string warning_of(const CaptionLengths& lengths, const RunConfig& config);

}  // namespace kessoku::runtime
