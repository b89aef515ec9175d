#include "model/tokenizer.h"

#include "model/caption_words.h"
#include "model/tokenizer_files.h"

namespace kessoku::model {

namespace {

constexpr size_t kContext = 77;
constexpr size_t kChunkPieces = kContext - 2;  // without start and end

}  // namespace

struct Tokenizer::Impl {
  Bpe bpe;
};

Tokenizer::Tokenizer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

Tokenizer Tokenizer::load(const std::filesystem::path& folder) {
  return Tokenizer(std::make_unique<Impl>(Impl{read_tokenizer_files(folder)}));
}

TokenizedText Tokenizer::tokenize(std::string_view text, int64_t chunks) const {
  const Bpe& bpe = impl_->bpe;
  std::vector<int64_t> ids;
  for (const CaptionWord& word : split_caption(text)) {
    switch (word.kind) {
      case CaptionWord::kText:
        bpe.encode(word.text, ids);
        break;
      case CaptionWord::kStart:
        ids.push_back(bpe.start_id());
        break;
      case CaptionWord::kEnd:
        ids.push_back(bpe.end_id());
        break;
    }
  }
  TokenizedText result;
  const size_t kept = std::min(ids.size(), static_cast<size_t>(chunks) * kChunkPieces);
  result.truncated = static_cast<int64_t>(ids.size() - kept);
  for (size_t i = 0; i < kept; ++i)
    result.pieces.push_back(bpe.pieces()[static_cast<size_t>(ids[i])]);
  for (size_t begin = 0; begin < static_cast<size_t>(chunks) * kChunkPieces;
       begin += kChunkPieces) {
    const size_t end = std::min(begin + kChunkPieces, kept);
    result.ids.push_back(bpe.start_id());
    if (begin < end) {
      result.ids.insert(result.ids.end(), ids.begin() + static_cast<ptrdiff_t>(begin),
                        ids.begin() + static_cast<ptrdiff_t>(end));
    }
    result.ids.resize((begin / kChunkPieces + 1) * kContext, bpe.end_id());
  }
  return result;
}

void Tokenizer::save(const std::filesystem::path& folder) const {
  write_tokenizer_files(folder, impl_->bpe);
}

}  // namespace kessoku::model
