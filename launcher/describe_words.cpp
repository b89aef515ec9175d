#include "launcher/describe_words.h"

#include <fmt/format.h>

namespace kessoku::launcher {

using nlohmann::json;

namespace {

constexpr size_t kShownPairs = 20;

std::vector<std::string_view> pieces_of(const std::vector<int64_t>& ids,
                                        const model::Tokenizer& tokenizer) {
  std::vector<std::string_view> pieces;
  for (const int64_t id : ids) pieces.push_back(tokenizer.piece(id));
  return pieces;
}

}  // namespace

std::string join_pieces(const std::vector<std::string_view>& pieces) {
  std::string text;
  for (std::string_view piece : pieces) {
    const bool ends = piece.ends_with("</w>");
    if (ends) piece.remove_suffix(4);
    text += piece;
    text += ends || piece.starts_with("<|") ? " " : "·";
  }
  if (text.ends_with(' ')) text.pop_back();
  return text;
}

json describe_words(const std::vector<std::string>& words, const model::Tokenizer& tokenizer,
                    const model::TriggerWordReport& report) {
  json result{{"words", json::array()}, {"pairs", json::array()}, {"proposals", json::array()}};
  for (const std::string& word : words) {
    const std::vector<int64_t> ids = tokenizer.encode(word);
    result["words"].push_back(
        {{"word", word}, {"ids", ids}, {"pieces", pieces_of(ids, tokenizer)}});
  }
  for (const model::WordPair& pair : report.pairs) {
    json entry{{"a", words[pair.a]},           {"b", words[pair.b]},
               {"shared_tokens", pair.shared}, {"tokens", pair.tokens},
               {"similarity", nullptr},        {"unrelated", nullptr},
               {"collides", pair.collides()}};
    if (pair.encoder) {
      entry["similarity"] = pair.encoder->similarity;
      entry["unrelated"] = pair.encoder->unrelated;
    }
    result["pairs"].push_back(std::move(entry));
  }
  for (const auto& [instead_of, proposed] : report.proposals) {
    json entry{{"instead_of", words[instead_of]},
               {"word", proposed.word},
               {"nearest", nullptr},
               {"similarity", nullptr}};
    if (!proposed.nearest.empty()) {
      entry["nearest"] = proposed.nearest;
      entry["similarity"] = proposed.similarity;
    }
    result["proposals"].push_back(std::move(entry));
  }
  return result;
}

void print_words(const std::vector<std::string>& words, const model::Tokenizer& tokenizer,
                 const model::TriggerWordReport& report) {
  for (const std::string& word : words) {
    const std::vector<int64_t> ids = tokenizer.encode(word);
    fmt::print("  {:<24} {} tokens: {}\n", word, ids.size(),
               join_pieces(pieces_of(ids, tokenizer)));
  }
  const bool encoded = report.pairs.front().encoder.has_value();
  fmt::print("\n  {:<40}{:>8}{}\n", "pair", "shared",
             encoded ? fmt::format("{:>12}{:>12}", "similarity", "unrelated") : "");
  for (size_t i = 0; i < report.pairs.size(); ++i) {
    const model::WordPair& pair = report.pairs[i];
    if (i >= kShownPairs && !pair.collides()) break;
    fmt::print("  {:<40}{:>8}", words[pair.a] + " - " + words[pair.b],
               fmt::format("{}/{}", pair.shared, pair.tokens));
    if (pair.encoder)
      fmt::print("{:>12.3f}{:>12.3f}", pair.encoder->similarity, pair.encoder->unrelated);
    fmt::print("{}\n", pair.collides() ? "  !" : "");
  }
  if (encoded) {
    fmt::print(
        "\nsimilarity: cosine in the text encoder, 1 = the same; unrelated: 999 of 1000 pairs of "
        "unrelated words stay below\n");
  }
  for (const auto& [instead_of, proposed] : report.proposals) {
    fmt::print("instead of {}: {}{}\n", words[instead_of], proposed.word,
               proposed.nearest.empty() ? ""
                                        : fmt::format(" (the nearest is {}, {:.3f})",
                                                      proposed.nearest, proposed.similarity));
  }
}

std::vector<std::string> warnings_of(const std::vector<std::string>& words,
                                     const model::TriggerWordReport& report) {
  std::vector<std::string> warnings;
  for (const model::WordPair& pair : report.pairs) {
    if (!pair.collides()) continue;
    std::vector<std::string> reasons;
    if (pair.shares_tokens())
      reasons.push_back(fmt::format("share {} of {} tokens", pair.shared, pair.tokens));
    if (pair.near_equal()) {
      reasons.push_back(fmt::format("are nearly the same to the text encoder (similarity {:.3f})",
                                    pair.encoder->similarity));
    }
    warnings.push_back(fmt::format("{} and {} {}: a model will mix them up", words[pair.a],
                                   words[pair.b], fmt::join(reasons, " and ")));
  }
  return warnings;
}

}  // namespace kessoku::launcher
