#include "model/text/tokenizer_files.h"

#include <map>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "base/json_fields.h"
#include "base/log.h"
#include "model/text/special_tokens.h"

namespace kessoku::model {

namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using MergePairs = std::vector<std::pair<std::string, std::string>>;

/// Ours: which front-end the model was trained with.
constexpr const char* kFrontEndKey = "kessoku_front_end";
constexpr uint64_t kLargestFile = 32 << 20;  // CLIP's tokenizer.json has under 4 MB

/// An object; an empty one if the file is not there.
json parse_object(const fs::path& path) {
  return fs::exists(path) ? read_json_file(path.string(), kLargestFile) : json::object();
}

/// The pieces by id. The ids must be 0 … n − 1, each once.
std::vector<std::string> pieces_by_id(const json& vocabulary, const std::string& where) {
  if (!vocabulary.is_object() || vocabulary.empty()) {
    throw DataError(
        fmt::format("{}: the vocabulary must be an object of pieces and their ids", where));
  }
  std::vector<std::string> pieces(vocabulary.size());
  std::vector<bool> taken(vocabulary.size());
  for (const auto& [piece, id] : vocabulary.items()) {
    if (!id.is_number_unsigned() || id.get<uint64_t>() >= pieces.size() ||
        taken[id.get<size_t>()]) {
      throw DataError(fmt::format("{}: the id of {} is {}; ids must be 0 to {}, each once", where,
                                  in_quotes(piece), id.dump().substr(0, 60), pieces.size() - 1));
    }
    pieces[id.get<size_t>()] = piece;
    taken[id.get<size_t>()] = true;
  }
  return pieces;
}

std::pair<std::string, std::string> split_merge(std::string_view line, const std::string& where) {
  const size_t space = line.find(' ');
  const bool two = space != std::string_view::npos && space > 0 && space + 1 < line.size() &&
                   line.find(' ', space + 1) == std::string_view::npos;
  if (!two)
    throw DataError(
        fmt::format("{}: {} is not two pieces with a space between", where, in_quotes(line)));
  return {std::string(line.substr(0, space)), std::string(line.substr(space + 1))};
}

MergePairs read_merges_txt(const fs::path& path) {
  const std::string content = read_file(path, kLargestFile);
  MergePairs merges;
  std::string_view rest = content;
  for (size_t number = 1; !rest.empty(); ++number) {
    const size_t length = std::min(rest.find('\n'), rest.size());
    std::string_view line = rest.substr(0, length);
    rest.remove_prefix(std::min(length + 1, rest.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty() || (number == 1 && line.starts_with("#version"))) continue;
    merges.push_back(split_merge(line, fmt::format("{}:{}", path.string(), number)));
  }
  return merges;
}

/// Merges of a tokenizer.json: "a b" or ["a", "b"] each.
MergePairs merges_of_json(const json& list, const std::string& where) {
  if (!list.is_array()) throw DataError(fmt::format("{}: model.merges must be a list", where));
  MergePairs merges;
  merges.reserve(list.size());
  for (const json& entry : list) {
    if (entry.is_string()) {
      merges.push_back(split_merge(entry.get_ref<const std::string&>(), where));
    } else if (entry.is_array() && entry.size() == 2 && entry[0].is_string() &&
               entry[1].is_string()) {
      merges.emplace_back(entry[0].get<std::string>(), entry[1].get<std::string>());
    } else {
      throw DataError(
          fmt::format("{}: the merge {} is not two pieces", where,
                      entry.dump(-1, ' ', false, json::error_handler_t::replace).substr(0, 60)));
    }
  }
  return merges;
}

Bpe bpe_of_json(const json& root, const std::string& where) {
  const json model = root.value("model", json());
  if (!model.is_object() || !model.contains("vocab") || !model.contains("merges")) {
    throw DataError(fmt::format("{}: lacks model.vocab or model.merges", where));
  }
  const json suffix = model.value("end_of_word_suffix", json());
  if (suffix != "</w>") {
    throw DataError(
        fmt::format("{}: not CLIP's tokenizer: model.end_of_word_suffix is {}, not \"</w>\"", where,
                    suffix.dump(-1, ' ', false, json::error_handler_t::replace).substr(0, 60)));
  }
  return Bpe(pieces_by_id(model["vocab"], where), merges_of_json(model["merges"], where), where);
}

FrontEnd front_end_of(const json& name, const fs::path& folder) {
  try {
    return parse_front_end(name.is_string() ? name.get<std::string>() : name.dump());
  } catch (const UsageError& error) {
    throw DataError(fmt::format("{}: {}: {}", (folder / "tokenizer_config.json").string(),
                                kFrontEndKey, error.what()));
  }
}

/// transformers takes tokenizer.json where there are both, and writes both when a word is added.
void warn_of_differences(const TokenizerFiles& taken, const TokenizerFiles& other,
                         const fs::path& folder) {
  const auto words_of = [](const TokenizerFiles& files) {
    std::map<std::string, int64_t> words;
    for (const SpecialToken& special : files.specials) words[special.text] = special.id;
    return words;
  };
  const bool same = taken.bpe.pieces() == other.bpe.pieces() &&
                    taken.bpe.merges() == other.bpe.merges() && words_of(taken) == words_of(other);
  if (same) return;
  log_warning(
      "{}: tokenizer.json and vocab.json are not the same tokenizer; tokenizer.json is taken, as "
      "transformers does",
      folder.string());
}

}  // namespace

TokenizerFiles read_tokenizer_files(const fs::path& place) {
  const bool is_file = fs::is_regular_file(place);
  const fs::path folder = is_file ? place.parent_path() : place;
  const fs::path vocabulary = folder / "vocab.json";
  const fs::path merges = folder / "merges.txt";
  const fs::path combined = is_file ? place : folder / "tokenizer.json";
  const auto finish = [&](Bpe bpe, const json& added) {
    const json config = parse_object(folder / "tokenizer_config.json");
    SpecialTokens specials = read_special_tokens(
        config, parse_object(folder / "special_tokens_map.json"), added, bpe, folder.string());
    const json front_end = config.value(kFrontEndKey, json("hf-fast"));
    return TokenizerFiles{std::move(bpe), std::move(specials.tokens), specials.pad_id,
                          front_end_of(front_end, folder)};
  };
  const bool has_pair = !is_file && fs::exists(vocabulary) && fs::exists(merges);
  const auto read_pair = [&] {
    return finish(
        Bpe(pieces_by_id(read_json_file(vocabulary.string(), kLargestFile), vocabulary.string()),
            read_merges_txt(merges), folder.string()),
        json());
  };
  if (fs::exists(combined)) {
    const json root = parse_object(combined);
    TokenizerFiles files =
        finish(bpe_of_json(root, combined.string()), root.value("added_tokens", json()));
    if (has_pair) warn_of_differences(files, read_pair(), folder);
    return files;
  }
  if (has_pair) return read_pair();
  throw UsageError(
      fmt::format("{}: no tokenizer there (neither vocab.json with merges.txt nor tokenizer.json)",
                  folder.string()));
}

void write_tokenizer_files(const fs::path& folder, const TokenizerFiles& files) {
  // Written by hand, in the order of the ids: a JSON object of the library would sort by piece.
  const Bpe& bpe = files.bpe;
  std::string vocabulary = "{";
  for (size_t id = 0; id < bpe.pieces().size(); ++id) {
    vocabulary += fmt::format("{}{}:{}", id == 0 ? "" : ",", json(bpe.pieces()[id]).dump(), id);
  }
  std::string merges = "#version: 0.2\n";
  for (const auto& [left, right] : bpe.merges()) {
    merges += fmt::format("{} {}\n", bpe.pieces()[left], bpe.pieces()[right]);
  }
  const SpecialTokens specials{files.specials, files.pad_id};
  const json roles = describe_roles(specials, bpe);
  json config = {{"add_prefix_space", false},
                 {"do_lower_case", true},
                 {"errors", "replace"},
                 {"model_max_length", 77},
                 {"tokenizer_class", "CLIPTokenizer"}};
  for (const auto& [role, token] : roles.items()) {
    config[role] = token;
    if (token.is_object()) config[role]["__type"] = "AddedToken";
  }
  const json added = describe_added_tokens(specials, bpe);
  if (!added.empty()) config["added_tokens_decoder"] = added;
  if (files.front_end != FrontEnd::kHfFast) config[kFrontEndKey] = to_string(files.front_end);

  fs::create_directories(folder);
  write_file_atomically(folder / "vocab.json", vocabulary + "}");
  write_file_atomically(folder / "merges.txt", merges);
  write_file_atomically(folder / "special_tokens_map.json", roles.dump(2) + "\n");
  write_file_atomically(folder / "tokenizer_config.json", config.dump(2) + "\n");
}

}  // namespace kessoku::model
