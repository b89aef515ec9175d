#include "model/text/special_tokens.h"

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>

#include "base/error.h"

namespace kessoku::model {

using nlohmann::json;

namespace {

constexpr int64_t kMostIds = 1 << 20;
constexpr size_t kMostSpecials = 10'000;

std::string shown(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace).substr(0, 100);
}

/// Collects special tokens; a later entry of the same spelling replaces the earlier one.
class Collector {
 public:
  Collector(const Bpe& bpe, const std::string& where) : bpe_(bpe), where_(where) {}

  /// `entry` is an AddedToken object.
  void add(const json& entry, int64_t id, const char* key) {
    for (const char* flag : {"lstrip", "rstrip", "single_word"}) {
      if (flag_of(entry, flag, key))
        fail(key, fmt::format("{} of {} is not supported", flag, shown(entry)));
    }
    put({text_of(entry, key), id, flag_of(entry, "normalized", key)}, key);
  }

  void put(SpecialToken token, const char* key) {
    if (token.text.empty() || token.text.size() > 1000)
      fail(key, "a special token's text must have 1 to 1000 bytes");
    const auto& pieces = bpe_.pieces();
    if (token.id < 0 || token.id >= kMostIds ||
        (token.id < static_cast<int64_t>(pieces.size()) &&
         pieces[static_cast<size_t>(token.id)] != token.text)) {
      fail(key, fmt::format("{} has the id {}, which is not its own", shown(token.text), token.id));
    }
    const auto same = std::ranges::find(tokens_, token.text, &SpecialToken::text);
    if (same != tokens_.end()) {
      *same = std::move(token);
    } else {
      if (tokens_.size() == kMostSpecials)
        fail(key, fmt::format("more than {} special tokens", kMostSpecials));
      tokens_.push_back(std::move(token));
    }
  }

  /// The text of a role's entry: a string, or an AddedToken.
  std::string text_of(const json& entry, const char* key) const {
    const json& text = entry.is_object() && entry.contains("content") ? entry["content"] : entry;
    if (!text.is_string()) fail(key, fmt::format("{} is no token", shown(entry)));
    return text.get<std::string>();
  }

  bool flag_of(const json& entry, const char* flag, const char* key) const {
    if (!entry.is_object() || !entry.contains(flag)) return false;
    if (!entry[flag].is_boolean()) fail(key, fmt::format("{} must be true or false", flag));
    return entry[flag].get<bool>();
  }

  const SpecialToken* find(const std::string& text) const {
    const auto found = std::ranges::find(tokens_, text, &SpecialToken::text);
    return found == tokens_.end() ? nullptr : &*found;
  }

  int64_t id_of(const std::string& text, const char* key) const {
    if (const SpecialToken* known = find(text)) return known->id;
    const auto& pieces = bpe_.pieces();
    const auto found = std::ranges::find(pieces, text);
    if (found == pieces.end()) fail(key, fmt::format("{} is not in the vocabulary", shown(text)));
    return found - pieces.begin();
  }

  [[noreturn]] void fail(const char* key, const std::string& problem) const {
    throw DataError(fmt::format("{}: {}: {}", where_, key, problem));
  }

  std::vector<SpecialToken> take() { return std::move(tokens_); }

 private:
  const Bpe& bpe_;
  const std::string& where_;
  std::vector<SpecialToken> tokens_;
};

constexpr const char* kRoles[] = {"bos_token", "eos_token", "unk_token", "pad_token"};

const json* find_key(const json& object, const char* key) {
  if (!object.is_object()) return nullptr;
  const auto found = object.find(key);
  return found == object.end() || found->is_null() ? nullptr : &*found;
}

void add_decoder(const json& decoder, Collector& collector) {
  constexpr const char* kKey = "added_tokens_decoder";
  if (!decoder.is_object()) collector.fail(kKey, "must be an object of ids and tokens");
  for (const auto& [text, entry] : decoder.items()) {
    int64_t id = -1;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), id);
    if (error != std::errc() || end != text.data() + text.size())
      collector.fail(kKey, fmt::format("{} is no id", shown(text)));
    collector.add(entry, id, kKey);
  }
}

void add_list(const json& list, Collector& collector) {
  constexpr const char* kKey = "added_tokens";
  if (!list.is_array()) collector.fail(kKey, "must be a list");
  for (const json& entry : list) {
    const json* id = find_key(entry, "id");
    if (id == nullptr || !id->is_number_integer() || (id->is_number_unsigned() && *id > kMostIds))
      collector.fail(kKey, fmt::format("{} has no id", shown(entry)));
    collector.add(entry, id->get<int64_t>(), kKey);
  }
}

}  // namespace

SpecialTokens read_special_tokens(const json& config, const json& map, const json& added,
                                  const Bpe& bpe, const std::string& where) {
  Collector collector(bpe, where);
  const json* decoder = find_key(config, "added_tokens_decoder");
  const bool listed = decoder != nullptr || !added.is_null();
  if (!added.is_null()) add_list(added, collector);
  if (decoder != nullptr) add_decoder(*decoder, collector);
  std::string pad;
  for (const char* role : kRoles) {
    const json* entry = find_key(map, role);
    if (entry == nullptr || (listed && find_key(config, role) != nullptr))
      entry = find_key(config, role);
    const std::string usual(role == kRoles[0] ? Bpe::kStart : Bpe::kEnd);
    const std::string text = entry != nullptr ? collector.text_of(*entry, role) : usual;
    pad = text;  // the last role
    if ((role == kRoles[0] && text != Bpe::kStart) || (role == kRoles[1] && text != Bpe::kEnd))
      collector.fail(role, fmt::format("{} is not CLIP's", shown(text)));
    if (listed && collector.find(text) != nullptr) continue;
    const int64_t id = collector.id_of(text, role);
    if (entry != nullptr && entry->is_object()) {
      collector.add(*entry, id, role);
    } else {
      collector.put({text, id, false}, role);
    }
  }
  const int64_t pad_id = collector.id_of(pad, "pad_token");
  return {collector.take(), pad_id};
}

namespace {

json describe_token(const SpecialToken& token) {
  return {{"content", token.text},
          {"lstrip", false},
          {"normalized", token.normalized},
          {"rstrip", false},
          {"single_word", false}};
}

const SpecialToken& token_of(const SpecialTokens& specials, int64_t id) {
  return *std::ranges::find(specials.tokens, id, &SpecialToken::id);
}

}  // namespace

json describe_roles(const SpecialTokens& specials, const Bpe& bpe) {
  json roles = json::object();
  const int64_t ids[] = {bpe.start_id(), bpe.end_id(), bpe.end_id(), specials.pad_id};
  for (size_t i = 0; i < std::size(kRoles); ++i) {
    const SpecialToken& token = token_of(specials, ids[i]);
    roles[kRoles[i]] = token.normalized ? describe_token(token) : json(token.text);
  }
  return roles;
}

json describe_added_tokens(const SpecialTokens& specials, const Bpe& bpe) {
  json decoder = json::object();
  for (const SpecialToken& token : specials.tokens) {
    decoder[std::to_string(token.id)] = describe_token(token);
    decoder[std::to_string(token.id)]["special"] = true;
  }
  const bool more = std::ranges::any_of(specials.tokens, [&](const SpecialToken& token) {
    return token.id != bpe.start_id() && token.id != bpe.end_id() && token.id != specials.pad_id;
  });
  return more ? decoder : json::object();
}

}  // namespace kessoku::model
