#include "model/tokenizer.h"

#include <gmock/gmock.h>

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

TEST(Tokenizer, EqualsTransformersOnCaptionsOddTextsAndRandomCharacters) {
  TemporaryFolder folder;
  std::vector<std::string> arguments{clip_tokenizer_folder(), folder.path() / "oracle.json"};
  if (std::getenv("KESSOKU_ALL_CHARACTERS") != nullptr) arguments.emplace_back("--all-characters");
  run_oracle("tokenizer_oracle.py", arguments);
  const json records = read_json(folder.path() / "oracle.json");
  ASSERT_GT(records.size(), 5000u);
  int64_t different = 0;
  for (const json& record : records) {
    const TokenizedText mine = clip().tokenize(record["text"].get<std::string>());
    if (mine.ids == record["ids"] && mine.pieces == record["pieces"] &&
        mine.truncated == record["truncated"]) {
      continue;
    }
    if (++different <= 200)
      ADD_FAILURE() << record["text"].dump(-1, ' ', true) << "\nours   " << json(mine.pieces).dump()
                    << "\ntheirs " << record["pieces"].dump();
  }
  EXPECT_EQ(different, 0) << "of " << records.size();
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

TEST(Tokenizer, TokenizesAnEndlessWordWithoutQuadraticTime) {
  EXPECT_GT(clip().tokenize(std::string(2'000'000, 'a')).truncated, 1000);
}

TEST(Tokenizer, IsSafeForConcurrentUse) {
  const auto expected = clip().tokenize("kita ikuyo sings").ids;
  std::vector<std::thread> threads;
  std::vector<char> results(4, 1);
  for (size_t t = 0; t < results.size(); ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 2000; ++i)
        results[t] &= clip().tokenize("kita ikuyo sings").ids == expected;
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
  EXPECT_THAT(message_of_loading(path), HasSubstr("must be an object"));
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

TEST(Tokenizer, AsksForATokenizerWhereNoneIs) {
  TemporaryFolder folder;
  EXPECT_THROW(Tokenizer::load(folder.path()), UsageError);
  EXPECT_THROW(Tokenizer::load(folder.path() / "absent"), UsageError);
}

}  // namespace
}  // namespace kessoku::model
