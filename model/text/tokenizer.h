#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "model/text/text_normalization.h"

namespace kessoku::model {

/// A caption as the text encoder takes it.
struct TokenizedText {
  /// Chunks of 77: start, up to 75 pieces, end, padding.
  std::vector<int64_t> ids;
  /// The kept pieces, as in the vocabulary, without start, end and padding; views into the
  /// tokenizer.
  std::vector<std::string_view> pieces;
  int64_t truncated = 0;  ///< pieces beyond the chunks that were cut off
};

/// CLIP's byte-pair encoding. Safe for concurrent use.
class Tokenizer {
 public:
  static constexpr int64_t kContext = 77;                ///< ids of a chunk
  static constexpr int64_t kChunkPieces = kContext - 2;  ///< without start and end

  /// Reads tokenizer.json in `folder` (or `folder` is one), or vocab.json and merges.txt, and
  /// beside them which tokens are special and which one pads. Throws UsageError if none is there,
  /// DataError if malformed. `front_end`: by default the one that the folder was saved with,
  /// "hf-fast" if it says nothing.
  static Tokenizer load(const std::filesystem::path& folder,
                        std::optional<FrontEnd> front_end = std::nullopt);
  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;
  ~Tokenizer();

  /// `chunks` (1 and more) times 77 ids: a long text goes on in the next chunk after 75 pieces.
  TokenizedText tokenize(std::string_view text, int64_t chunks = 1) const;
  /// All pieces of a text, without start, end and padding.
  std::vector<int64_t> encode(std::string_view text) const;

  /// As in the vocabulary: "cat</w>" ends a word; bytes stand as printable characters.
  std::string_view piece(int64_t id) const;
  int64_t size() const;  ///< ids are 0 … size() − 1
  int64_t start_id() const;
  int64_t end_id() const;
  int64_t pad_id() const;
  bool is_special(int64_t id) const;
  FrontEnd front_end() const;
  void set_front_end(FrontEnd front_end);

  /// Writes vocab.json, merges.txt, tokenizer_config.json and special_tokens_map.json.
  void save(const std::filesystem::path& folder) const;

 private:
  struct Impl;
  explicit Tokenizer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace kessoku::model
