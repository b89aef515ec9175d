#include "model/text/tokenizer.h"

#include <gmock/gmock.h>
#include <unicode/locid.h>
#include <unicode/unistr.h>

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <thread>

#include "base/error.h"
#include "tests/model/python_oracle.h"

namespace kessoku::model {
namespace {

using kessoku::testing::clip_tokenizer_folder;
using kessoku::testing::read_json;
using kessoku::testing::run_oracle;
using kessoku::testing::TemporaryFolder;
using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

const Tokenizer& clip() {
  static const Tokenizer tokenizer = Tokenizer::load(clip_tokenizer_folder());
  return tokenizer;
}

void write(const std::filesystem::path& path, const std::string& content) {
  std::ofstream(path, std::ios::binary) << content;
}

std::string message_of_loading(const std::filesystem::path& folder) {
  try {
    Tokenizer::load(folder);
  } catch (const DataError& error) {
    return error.what();
  }
  return "(no DataError)";
}

/// Captions in the languages that ICU knows: names of languages and countries, each line in one
/// language.
std::string many_scripts() {
  std::string corpus;
  int32_t count = 0;
  const icu::Locale* locales = icu::Locale::getAvailableLocales(count);
  for (int32_t i = 0; i < count; ++i) {
    std::string line = "1girl";
    for (int32_t k = 1; k <= 12; ++k) {
      icu::UnicodeString name;
      locales[(i * 7 + k * 67) % count].getDisplayName(locales[i], name);
      line += ", ";
      name.toUTF8String(line);
    }
    corpus += line + "\n";
  }
  return corpus;
}

/// Compares bare ids with an oracle's file of [text, ids].
void compare_ids(const std::filesystem::path& file, const Tokenizer& tokenizer) {
  const json records = read_json(file);
  int64_t different = 0;
  for (const json& record : records) {
    const std::vector<int64_t> mine = tokenizer.encode(record[0].get_ref<const std::string&>());
    if (mine == record[1].get<std::vector<int64_t>>() || ++different > 20) continue;
    ADD_FAILURE() << file.filename() << " " << record[0].dump(-1, ' ', true) << "\nours   "
                  << json(mine).dump() << "\ntheirs " << record[1].dump();
  }
  EXPECT_EQ(different, 0) << "of " << records.size() << " in " << file.filename();
}

TEST(Tokenizer, EqualsTransformersAndOpenAiOnCaptionsInManyScriptsAndOnCharacters) {
  const TemporaryFolder folder;
  write(folder.path() / "corpus.txt", many_scripts());
  std::vector<std::string> arguments{clip_tokenizer_folder(), folder.path(),
                                     folder.path() / "corpus.txt"};
  if (std::getenv("KESSOKU_ALL_CHARACTERS") != nullptr) arguments.emplace_back("--all-characters");
  run_oracle("text/tokenizer_oracle.py", arguments);
  const Tokenizer openai = Tokenizer::load(clip_tokenizer_folder(), FrontEnd::kOpenAi);
  size_t files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder.path())) {
    const std::string name = entry.path().filename();
    if (name.starts_with("hf-fast")) compare_ids(entry.path(), clip());
    if (name.starts_with("openai")) compare_ids(entry.path(), openai);
    ++files;
  }
  EXPECT_GE(files, 2u + 2 * 5);
  for (const json& record : read_json(folder.path() / "framed.json")) {
    const TokenizedText mine = clip().tokenize(record["text"].get<std::string>());
    EXPECT_EQ(json(mine.ids), record["ids"]) << record["text"].dump();
    EXPECT_EQ(json(mine.pieces), record["pieces"]) << record["text"].dump();
    EXPECT_EQ(mine.truncated, record["truncated"]) << record["text"].dump();
  }
}

TEST(Tokenizer, FramesAndPadsACaption) {
  const TokenizedText text = clip().tokenize("a photo of a cat");
  ASSERT_EQ(text.ids.size(), 77u);
  EXPECT_THAT(std::vector<int64_t>(text.ids.begin(), text.ids.begin() + 8),
              ElementsAre(49406, 320, 1125, 539, 320, 2368, 49407, 49407));
  EXPECT_THAT(text.pieces, ElementsAre("a</w>", "photo</w>", "of</w>", "a</w>", "cat</w>"));
  EXPECT_EQ(text.truncated, 0);
}

TEST(Tokenizer, KeepsTheEndWhenItTruncates) {
  std::string caption;
  for (int i = 0; i < 100; ++i) caption += "cat ";
  const TokenizedText text = clip().tokenize(caption);
  EXPECT_EQ(text.truncated, 25);
  EXPECT_EQ(text.ids[75], 2368);
  EXPECT_EQ(text.ids[76], 49407);
}

TEST(Tokenizer, GoesOnInTheNextChunkAfter75Pieces) {
  std::string caption;
  for (int i = 0; i < 80; ++i) caption += "cat ";
  const TokenizedText text = clip().tokenize(caption, 3);
  ASSERT_EQ(text.ids.size(), 231u);
  EXPECT_EQ(text.truncated, 0);
  EXPECT_EQ(text.pieces.size(), 80u);
  std::vector<int64_t> expected(231, 49407);
  for (const size_t begin : {0u, 77u, 154u}) expected[begin] = 49406;
  std::fill_n(expected.begin() + 1, 75, 2368);
  std::fill_n(expected.begin() + 78, 5, 2368);
  EXPECT_EQ(text.ids, expected);
  EXPECT_EQ(clip().tokenize(caption + caption, 2).truncated, 10);
}

TEST(Tokenizer, TakesInvalidUtf8AsReplacementCharacters) {
  EXPECT_EQ(clip().tokenize("a\xff z\xe3\x81").ids, clip().tokenize("a\ufffd z\ufffd").ids);
}

TEST(Tokenizer, IsSafeForConcurrentUse) {
  const auto expected = clip().tokenize("kita ikuyo sings").ids;
  const Tokenizer fresh = Tokenizer::load(clip_tokenizer_folder());  // nothing in its cache
  std::vector<std::thread> threads;
  std::vector<char> results(4, 1);
  for (size_t t = 0; t < results.size(); ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 2000; ++i) {
        const std::string word = fmt::format("word{} ", i);
        results[t] &= fresh.tokenize(word + "kita ikuyo sings").ids ==
                      clip().tokenize(word + "kita ikuyo sings").ids;
      }
      results[t] &= fresh.tokenize("kita ikuyo sings").ids == expected;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(results, ::testing::Each(1));
}

TEST(Tokenizer, SavesWhatItLoads) {
  TemporaryFolder folder;
  clip().save(folder.path());
  const Tokenizer again = Tokenizer::load(folder.path());
  const std::string caption = "Gotoh Hitori's guitar, 結束バンド 🎸";
  EXPECT_EQ(again.tokenize(caption).ids, clip().tokenize(caption).ids);
  EXPECT_EQ(read_file(folder.path() / "merges.txt"),
            read_file(clip_tokenizer_folder() / "merges.txt"));
  EXPECT_EQ(read_json(folder.path() / "vocab.json"),
            read_json(clip_tokenizer_folder() / "vocab.json"));
}

TEST(Tokenizer, ReadsTokenizerJson) {
  json merges = json::array();
  std::ifstream file(clip_tokenizer_folder() / "merges.txt");
  std::string line;
  std::getline(file, line);
  for (bool pair = true; std::getline(file, line); pair = !pair) {
    const size_t space = line.find(' ');
    merges.push_back(pair ? json{line.substr(0, space), line.substr(space + 1)} : json(line));
  }
  TemporaryFolder folder;
  const json model = {{"type", "BPE"},
                      {"end_of_word_suffix", "</w>"},
                      {"vocab", read_json(clip_tokenizer_folder() / "vocab.json")},
                      {"merges", merges}};
  write(folder.path() / "tokenizer.json", json{{"model", model}}.dump());
  const Tokenizer tokenizer = Tokenizer::load(folder.path());
  EXPECT_EQ(tokenizer.tokenize("a smiling bassist").ids, clip().tokenize("a smiling bassist").ids);
}

TEST(Tokenizer, NamesFileAndFaultOfDamagedFiles) {
  TemporaryFolder folder;
  const auto& path = folder.path();
  write(path / "merges.txt", "#version: 0.2\ni n\n");
  write(path / "vocab.json", "{\"a\": 0, ");
  EXPECT_THAT(message_of_loading(path), HasSubstr("vocab.json: not valid JSON"));
  write(path / "vocab.json", R"({"a": 0, "b": 7})");
  EXPECT_THAT(message_of_loading(path), HasSubstr("the id of \"b\" is 7"));
  write(path / "vocab.json", R"({"a": 0, "b": 0})");
  EXPECT_THAT(message_of_loading(path), HasSubstr("ids must be 0 to 1, each once"));
  write(path / "vocab.json", R"({"a": 0, "b": -1})");
  EXPECT_THAT(message_of_loading(path), HasSubstr("is -1"));
  write(path / "vocab.json", R"(["a"])");
  EXPECT_THAT(message_of_loading(path), HasSubstr("not a JSON object"));
  write(path / "vocab.json", R"({"a": 0})");
  EXPECT_THAT(message_of_loading(path), HasSubstr("the vocabulary lacks the piece"));
  write(path / "merges.txt", "#version: 0.2\ni n\nthe\n");
  EXPECT_THAT(message_of_loading(path), HasSubstr("merges.txt:3: \"the\" is not two pieces"));
  std::filesystem::copy_file(clip_tokenizer_folder() / "vocab.json", path / "vocab.json",
                             std::filesystem::copy_options::overwrite_existing);
  write(path / "merges.txt", "i n\ni n\n");
  EXPECT_THAT(message_of_loading(path), HasSubstr("stands there twice"));
  write(path / "merges.txt", "q9q zz\n");
  EXPECT_THAT(message_of_loading(path), HasSubstr("lacks the piece \"q9q\""));
}

TEST(Tokenizer, RefusesHostileFilesWithOneShortLine) {
  const TemporaryFolder folder;
  const auto& path = folder.path();
  const std::string merges = read_file(clip_tokenizer_folder() / "merges.txt");
  const std::string vocabulary = read_file(clip_tokenizer_folder() / "vocab.json");
  const json whole = json::parse(vocabulary);
  const auto expect = [&](const std::string& file, const std::string& content,
                          const std::string& problem) {
    for (const char* name : {"vocab.json", "merges.txt", "tokenizer.json", "tokenizer_config.json",
                             "special_tokens_map.json"}) {
      std::filesystem::remove(path / name);
    }
    if (file != "tokenizer.json") {
      write(path / "vocab.json", vocabulary);
      write(path / "merges.txt", merges);
    }
    write(path / file, content);
    const std::string message = message_of_loading(path);
    EXPECT_THAT(message, HasSubstr(problem)) << file;
    EXPECT_THAT(message, HasSubstr(path.string()));
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
    EXPECT_LT(message.size(), 500u) << message.substr(0, 1000);
  };
  expect("vocab.json", vocabulary.substr(0, vocabulary.size() / 2), "not valid JSON");
  expect("vocab.json", "{\"" + std::string(1 << 20, 'x'), "not valid JSON");
  expect("vocab.json", std::string(5'000'000, '['), "nested too deeply");
  expect("vocab.json", std::string(40 << 20, ' '), "bytes");
  expect("vocab.json", "{\"a\\nb\": 7}", "the id of \"a\\nb\" is 7");
  expect("vocab.json", "{\"a\": 0, \"b\": [[1]]}", "is [[1]]");
  expect("vocab.json", "{\"a\": 99999999999999999999}", "is 1e+20");
  expect("vocab.json", "{\"\xff\": 0}", "not UTF-8");
  expect("merges.txt", std::string("#version\n\0\x1b a\n", 14), "lacks the piece");
  expect("merges.txt", "#version\n" + std::string(1 << 20, 'q') + " a\n", "lacks the piece");
  expect("merges.txt", std::string(1 << 20, 'q'), "is not two pieces");
  expect("tokenizer.json", "[]", "not a JSON object");
  expect("tokenizer.json", R"({"model": 3})", "lacks model.vocab");
  expect("tokenizer.json",
         R"({"model": {"vocab": [], "merges": [], "end_of_word_suffix": "</w>"}})",
         "must be an object");
  expect("tokenizer.json",
         json{{"model",
               {{"vocab", whole}, {"merges", {{"a", "b", "c"}}}, {"end_of_word_suffix", "</w>"}}}}
             .dump(),
         "is not two pieces");
  expect("tokenizer.json",
         json{{"model", {{"vocab", whole}, {"merges", {"i n"}}, {"end_of_word_suffix", "</w>"}}},
              {"added_tokens", {{{"content", "<x>"}, {"id", 5}}}}}
             .dump(),
         "has the id 5, which is not its own");
  expect("tokenizer_config.json", "[1]", "not a JSON object");
  expect("tokenizer_config.json", R"({"pad_token": 5})", "5 is no token");
  expect("tokenizer_config.json", R"({"pad_token": "<pad>"})",
         "\"<pad>\" is not in the vocabulary");
  expect("tokenizer_config.json", R"({"eos_token": "!"})", "is not CLIP's");
  expect("tokenizer_config.json", R"({"added_tokens_decoder": {"x": "!"}})", "is no id");
  expect("tokenizer_config.json", R"({"added_tokens_decoder": {"4294967297": {"content": "!"}}})",
         "not its own");
  expect("tokenizer_config.json",
         R"({"added_tokens_decoder": {"0": {"content": "!", "lstrip": true}}})", "lstrip");
  expect("tokenizer_config.json", R"({"kessoku_front_end": "slow"})", "hf-fast, openai");
  expect("special_tokens_map.json", R"({"bos_token": {"content": ["a"]}})", "is no token");
  expect("special_tokens_map.json",
         R"({"bos_token": {"content": "<|startoftext|>", "normalized": 1}})",
         "must be true or false");
}

/// What transformers 5 makes of texts with other padding, and with special tokens that are looked
/// for after normalization, as Stable Diffusion 1.5's and 2's own files have them.
TEST(Tokenizer, ReadsAndWritesSpecialTokensAsTransformersDoes) {
  const TemporaryFolder folder;
  run_oracle("text/special_tokens_oracle.py", {clip_tokenizer_folder(), folder.path()});
  for (const json& one : read_json(folder.path() / "cases.json")) {
    const auto name = one["folder"].get<std::string>();
    SCOPED_TRACE(name);
    const Tokenizer tokenizer = Tokenizer::load(folder.path() / name);
    tokenizer.save(folder.path() / "saved" / name);
    const Tokenizer saved = Tokenizer::load(folder.path() / "saved" / name);
    for (const json& text : one["texts"]) {
      const auto caption = text[0].get<std::string>();
      EXPECT_EQ(json(tokenizer.tokenize(caption).ids), text[1]) << caption;
      EXPECT_EQ(json(saved.tokenize(caption).ids), text[1]) << caption;
    }
  }
  run_oracle("text/special_tokens_oracle.py",
             {clip_tokenizer_folder(), folder.path(), "--check", folder.path() / "saved"});
}

TEST(Tokenizer, RemembersItsFrontEnd) {
  const TemporaryFolder folder;
  Tokenizer tokenizer = Tokenizer::load(clip_tokenizer_folder());
  EXPECT_EQ(tokenizer.front_end(), FrontEnd::kHfFast);
  tokenizer.set_front_end(FrontEnd::kOpenAi);
  EXPECT_EQ(tokenizer.encode("&lt;a&gt;"), clip().encode("<a>"));
  tokenizer.save(folder.path());
  EXPECT_EQ(Tokenizer::load(folder.path()).front_end(), FrontEnd::kOpenAi);
  EXPECT_EQ(Tokenizer::load(folder.path(), FrontEnd::kHfFast).encode("&lt;"),
            clip().encode("&lt;"));
  EXPECT_THROW(parse_front_end("slow"), UsageError);
}

/// A caption from a stranger is no trap: time grows with its length, not with its square.
TEST(Tokenizer, TakesLongAndOddCaptionsInLinearTime) {
  const std::vector<std::string> parts{
      "a",  "ab", "<|endoftext|>", "<|", "&amp;amp;",         "&", "e\u0301\u0323", "\x1b[", "\xff",
      "'s", " ",  "\u0345",        "1",  std::string(1, '\0')};
  for (const FrontEnd front_end : {FrontEnd::kHfFast, FrontEnd::kOpenAi}) {
    const Tokenizer tokenizer = Tokenizer::load(clip_tokenizer_folder(), front_end);
    for (const std::string& part : parts) {
      std::string text;
      while (text.size() < 1'000'000) text += part;
      const auto start = std::chrono::steady_clock::now();
      tokenizer.tokenize(text, 3);
      const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
      EXPECT_LT(seconds.count(), 30)
          << json(part).dump(-1, ' ', true, json::error_handler_t::replace);
    }
  }
}

TEST(Tokenizer, AsksForATokenizerWhereNoneIs) {
  TemporaryFolder folder;
  EXPECT_THROW(Tokenizer::load(folder.path()), UsageError);
  EXPECT_THROW(Tokenizer::load(folder.path() / "absent"), UsageError);
}

}  // namespace
}  // namespace kessoku::model
