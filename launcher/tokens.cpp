
#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/json.h"
#include "base/log.h"
#include "base/text_file.h"
#include "data/store/store.h"
#include "launcher/argument_text.h"
#include "launcher/commands.h"
#include "launcher/describe_words.h"
#include "launcher/model_folder.h"
#include "model/stable_diffusion/stable_diffusion.h"

namespace kessoku::launcher {

using nlohmann::json;
namespace fs = std::filesystem;

namespace {

constexpr uint64_t kLargestFile = uint64_t{1} << 30;
constexpr size_t kMostWords = 500;  // their pairs are compared

/// A tokenizer by itself, in a folder or as tokenizer.json.
bool is_lone_tokenizer(const fs::path& path) {
  return path.extension() == ".json" || fs::exists(path / "vocab.json") ||
         fs::exists(path / "tokenizer.json");
}

model::Tokenizer load_tokenizer(const ModelOptions& options) {
  if (!fs::exists(options.path))
    throw UsageError(fmt::format("{}: no such file or folder", options.path));
  fs::path place = options.path;
  std::optional<model::FrontEnd> front_end;
  if (!options.front_end.empty()) front_end = model::parse_front_end(options.front_end);
  if (!is_lone_tokenizer(place)) {
    place = find_tokenizer(options);
    model::require_tokenizer(options.path, place);
  }
  return model::Tokenizer::load(place, front_end);
}

/// The lines of --file, empty ones too: one result a line.
std::vector<std::string> read_texts(const TokensOptions& options) {
  std::vector<std::string> texts;
  for (const std::string& text : options.texts) texts.push_back(argument_text(text));
  if (options.file.empty()) return texts;
  const Text content = read_text_file(options.file, kLargestFile);
  if (!content.warning.empty()) log_warning("{}: {}", options.file, content.warning);
  for (std::string_view rest = content.text; !rest.empty();) {
    const size_t length = std::min(rest.find('\n'), rest.size());
    texts.emplace_back(rest.substr(0, length));
    rest.remove_prefix(std::min(length + 1, rest.size()));
  }
  return texts;
}

/// Text by text: a file may have many.
void tokenize(const TokensOptions& options, const model::Tokenizer& tokenizer) {
  const std::vector<std::string> texts = read_texts(options);
  if (texts.empty() && options.file.empty())
    throw UsageError("tokens: give a TEXT, or --file FILE");
  if (options.json) fmt::print("[");
  for (size_t i = 0; i < texts.size(); ++i) {
    const model::TokenizedText tokens = tokenizer.tokenize(texts[i], options.chunks);
    if (options.json) {
      const json entry{{"text", texts[i]},
                       {"ids", tokens.ids},
                       {"pieces", tokens.pieces},
                       {"truncated", tokens.truncated}};
      fmt::print("{}{}", i == 0 ? "" : ",\n", to_text(entry));
      continue;
    }
    fmt::print("{}\n  {} tokens: {}\n", texts[i], tokens.pieces.size(), join_pieces(tokens.pieces));
    if (tokens.truncated > 0) fmt::print("  {} more are cut off\n", tokens.truncated);
  }
  if (options.json) fmt::print("]\n");
}

std::vector<std::string> words_to_compare(const TokensOptions& options,
                                          const model::Tokenizer& tokenizer) {
  std::vector<std::string> words;
  const auto add = [&](const std::vector<std::string>& more) {
    for (const std::string& word : more) {
      if (!word.empty() && std::ranges::find(words, word) == words.end()) words.push_back(word);
      if (words.size() > kMostWords)
        throw UsageError(fmt::format("tokens --compare: takes up to {} words", kMostWords));
    }
  };
  add(read_texts(options));
  if (!options.store.empty()) {
    const data::Store store(options.store);
    std::vector<std::string> captions;
    for (size_t i = 0; i < store.size(); ++i) captions.push_back(store.caption(i));
    add(model::find_trigger_words(captions, tokenizer));
  }
  if (words.size() < 2) {
    throw UsageError(fmt::format(
        "tokens --compare: {}",
        options.store.empty() ? "give two trigger words or more, or --store STORE"
                              : "fewer than two words of the captions look like trigger words; "
                                "give them as arguments"));
  }
  return words;
}

/// Nothing, with a warning, if the model comes without one.
std::optional<model::TextEncoder> load_encoder(const ModelOptions& options) {
  std::string reason = "a tokenizer by itself";
  if (!is_lone_tokenizer(options.path)) {
    const model::ModelSource source = resolve_model(options);
    if (model::open_model(source).text_encoder) return model::load_text_encoder(source);
    reason = "holds no text encoder";
  }
  log_warning("{}: {}: the words are compared by their tokens alone", options.path, reason);
  return std::nullopt;
}

void compare(const TokensOptions& options, const model::Tokenizer& tokenizer) {
  const std::vector<std::string> words = words_to_compare(options, tokenizer);
  const std::optional<model::TextEncoder> encoder = load_encoder(options.model);
  const auto report = model::compare_trigger_words(words, tokenizer, encoder ? &*encoder : nullptr);
  if (options.json) {
    fmt::print("{}\n", to_text(describe_words(words, tokenizer, report), 1));
  } else {
    print_words(words, tokenizer, report);
  }
  for (const std::string& warning : warnings_of(words, report)) log_warning("{}", warning);
}

}  // namespace

void run(const TokensOptions& options) {
  if (!options.compare && !options.store.empty())
    throw UsageError("tokens: --store goes with --compare");
  const model::Tokenizer tokenizer = load_tokenizer(options.model);
  if (options.compare) {
    compare(options, tokenizer);
  } else {
    tokenize(options, tokenizer);
  }
}

}  // namespace kessoku::launcher
