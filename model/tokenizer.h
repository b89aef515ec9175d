#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace kessoku::model {

/// A caption as the text encoder takes it.
struct TokenizedText {
  /// Chunks of 77: start, up to 75 pieces, end, padding (also end).
  std::vector<int64_t> ids;
  std::vector<std::string>
      pieces;             ///< the kept pieces, as in the vocabulary, without start, end and padding
  int64_t truncated = 0;  ///< pieces beyond the chunks that were cut off
};

/// CLIP's byte-pair encoding with the front-end of Hugging Face's fast tokenizer: NFC, runs of
/// white space as one space, lower case; `<|startoftext|>` and `<|endoftext|>` in the text are
/// special tokens. Safe for concurrent use.
class Tokenizer {
 public:
  /// Reads vocab.json and merges.txt in `folder`, or tokenizer.json. Throws UsageError if none is
  /// there, DataError if malformed.
  static Tokenizer load(const std::filesystem::path& folder);
  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;
  ~Tokenizer();

  /// `chunks` (1 and more) times 77 ids: a long text goes on in the next chunk after 75 pieces.
  TokenizedText tokenize(std::string_view text, int64_t chunks = 1) const;
  /// Writes vocab.json, merges.txt, tokenizer_config.json and special_tokens_map.json.
  void save(const std::filesystem::path& folder) const;

 private:
  struct Impl;
  explicit Tokenizer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace kessoku::model
