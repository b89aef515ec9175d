#include "model/text/tokenizer.h"

#include "model/text/caption_words.h"
#include "model/text/tokenizer_files.h"
#include "model/text/word_cache.h"

namespace kessoku::model {

struct Tokenizer::Impl {
  Impl(TokenizerFiles given, FrontEnd front_end)
      : files(std::move(given)), splitter(front_end, files.specials) {
    files.front_end = front_end;
  }

  TokenizerFiles files;
  CaptionSplitter splitter;
  mutable WordCache cache;
};

Tokenizer::Tokenizer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

Tokenizer Tokenizer::load(const std::filesystem::path& folder, std::optional<FrontEnd> front_end) {
  TokenizerFiles files = read_tokenizer_files(folder);
  const FrontEnd chosen = front_end.value_or(files.front_end);
  return Tokenizer(std::make_unique<Impl>(std::move(files), chosen));
}

std::vector<int64_t> Tokenizer::encode(std::string_view text) const {
  const SplitCaption caption = impl_->splitter.split(text);
  std::vector<int64_t> ids;
  ids.reserve(caption.words.size() + caption.words.size() / 2 + 8);
  for (const SplitCaption::Word& word : caption.words) {
    if (word.special != kNoSpecial) {
      ids.push_back(word.special);
      continue;
    }
    const std::string_view bytes = caption.word(word);
    if (impl_->cache.find(bytes, ids)) continue;
    const size_t before = ids.size();
    impl_->files.bpe.encode(bytes, ids);
    impl_->cache.add(bytes, ids.data() + before, ids.size() - before);
  }
  return ids;
}

TokenizedText Tokenizer::tokenize(std::string_view text, int64_t chunks) const {
  const std::vector<int64_t> ids = encode(text);
  const auto most = static_cast<size_t>(chunks * kChunkPieces);
  const size_t kept = std::min(ids.size(), most);
  TokenizedText result;
  result.truncated = static_cast<int64_t>(ids.size() - kept);
  result.ids.reserve(static_cast<size_t>(chunks * kContext));
  result.pieces.reserve(kept);
  for (size_t i = 0; i < kept; ++i) result.pieces.push_back(piece(ids[i]));
  for (size_t begin = 0; begin < most; begin += kChunkPieces) {
    result.ids.push_back(start_id());
    for (size_t i = begin; i < std::min(begin + kChunkPieces, kept); ++i)
      result.ids.push_back(ids[i]);
    result.ids.push_back(end_id());
    result.ids.resize((begin / kChunkPieces + 1) * kContext, pad_id());
  }
  return result;
}

std::string_view Tokenizer::piece(int64_t id) const {
  const auto& pieces = impl_->files.bpe.pieces();
  if (static_cast<size_t>(id) < pieces.size()) return pieces[static_cast<size_t>(id)];
  for (const SpecialToken& special : impl_->files.specials) {
    if (special.id == id) return special.text;
  }
  return {};
}

int64_t Tokenizer::size() const {
  auto size = static_cast<int64_t>(impl_->files.bpe.pieces().size());
  for (const SpecialToken& special : impl_->files.specials) size = std::max(size, special.id + 1);
  return size;
}

bool Tokenizer::is_special(int64_t id) const {
  return std::ranges::any_of(impl_->files.specials,
                             [id](const SpecialToken& special) { return special.id == id; });
}

int64_t Tokenizer::start_id() const { return impl_->files.bpe.start_id(); }
int64_t Tokenizer::end_id() const { return impl_->files.bpe.end_id(); }
int64_t Tokenizer::pad_id() const { return impl_->files.pad_id; }
FrontEnd Tokenizer::front_end() const { return impl_->files.front_end; }

void Tokenizer::set_front_end(FrontEnd front_end) {
  if (front_end != this->front_end())
    impl_ = std::make_unique<Impl>(std::move(impl_->files), front_end);
}

void Tokenizer::save(const std::filesystem::path& folder) const {
  write_tokenizer_files(folder, impl_->files);
}

}  // namespace kessoku::model
