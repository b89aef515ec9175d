// Files that are damaged at random: every parser of dataset files must give a result or a
// DataError, soon, and within a bounded memory.
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <ctime>
#include <fstream>
#include <random>

#include "base/error.h"
#include "data/dataset/dataset.h"
#include "data/dataset/kohya_latents.h"
#include "data/dataset/screenshot_metadata.h"
#include "data/dataset/weight_csv.h"
#include "tests/data/python.h"
#include "tests/temporary_folder.h"

namespace kessoku::data {
namespace {

namespace fs = std::filesystem;

/// One to eight changes: bytes replaced, cut out, doubled, or put in from elsewhere and from a list
/// of what parsers trip over.
std::string mutate(std::string text, const std::vector<std::string>& words, std::mt19937& random) {
  const auto below = [&](size_t bound) { return bound == 0 ? 0 : random() % bound; };
  for (size_t change = 1 + below(8); change > 0; --change) {
    const size_t at = below(text.size() + 1), count = std::min<size_t>(below(20), text.size() - at);
    switch (below(5)) {
      case 0:
        if (at < text.size()) text[at] = static_cast<char>(below(256));
        break;
      case 1:
        text.erase(at, count);
        break;
      case 2:
        text.insert(at, text.substr(at, count));
        break;
      case 3:
        text.insert(at, words[below(words.size())]);
        break;
      default:
        text.insert(at, text.substr(below(text.size() + 1), count));
    }
  }
  return text;
}

class Mutations : public ::testing::Test {
 protected:
  /// Reads `rounds` damaged forms of `text` and expects errors to name `file`.
  void run(const std::string& file, const std::string& text, const std::vector<std::string>& words,
           size_t rounds, const std::function<void(const fs::path&)>& read) {
    std::mt19937 random(20260101);
    const fs::path path = folder_.path() / file;
    fs::create_directories(path.parent_path());
    size_t refused = 0;
    const std::clock_t began = std::clock();  // of this process: a busy machine is no failure
    for (size_t round = 0; round < rounds; ++round) {
      const std::string damaged = mutate(text, words, random);
      std::ofstream(path, std::ios::binary) << damaged;
      try {
        read(path);
      } catch (const DataError& error) {
        ++refused;
        ASSERT_NE(std::string(error.what()).find(path.filename().string()), std::string::npos)
            << error.what();
      } catch (const UsageError&) {  // nothing is left to read
        ++refused;
      }
    }
    const double seconds = static_cast<double>(std::clock() - began) / CLOCKS_PER_SEC;
    EXPECT_GT(refused, rounds / 20) << "the damage is too mild to test anything";
    EXPECT_LT(seconds, 60);
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    EXPECT_LT(usage.ru_maxrss, 1 << 20) << "KiB";
  }

  /// Reads the folder, whose image `1.png` the damaged file belongs to.
  void run_scan(const std::string& file, const std::string& text,
                const std::vector<std::string>& words, Dialect dialect, const fs::path& dataset) {
    write_text(folder_.path() / "1_x/1.png", "x");
    run(file, text, words, 1500,
        [&](const fs::path&) { scan_dataset(folder_.path() / dataset, {.dialect = dialect}); });
  }

  tests::TemporaryFolder folder_;
};

TEST_F(Mutations, Yaml) {
  run_scan(
      "1_x/1.yaml",
      "main_prompt: &p a girl\ntags:\n  - {tag: 'hi', weight: 2.0}\n  - \"lo\\u7d50\"\n  - *p\n"
      "multiply: 0.5\ncond_dropout: 0.1\nflip_p: 0.5\nshuffle_tags: yes\nbatch_id: x\n"
      "loss_scale: -1\nmax_caption_length: 200\ncaption: {tags: [a, b]}\n<<: {flip_p: 0}\n",
      {"\n",          "- ",     ": ",
       "{",           "[",      "&p ",
       "*p",          "!!str ", "!!python/object:os ",
       "|\n",         ">\n",    "---\n",
       "%YAML 1.1\n", "? ",     "\t",
       "<<: *p\n",    "~",      "1e999",
       "-1",          "\"",     "'",
       "\\x",         "#"},
      Dialect::kEveryDream2, ".");
}

TEST_F(Mutations, JsonList) {
  run_scan(
      "1_x/list.json",
      "[{\"image\": \"1.png\", \"main_prompt\": [\"a\", \"b\"], \"tags\": [\"x\", {\"tag\": \"y\", "
      "\"weight\": 2}], \"multiply\": 1.5},\n {\"image\": \"1.png\", \"caption\": {\"caption\": "
      "\"deep, "
      "er\"}, \"flip_p\": 0.1}]",
      {"{", "}", "[", "]", ",", ":", "\"", "null", "1e999", "\\ud800", "{\"caption\":", "\n"},
      Dialect::kEveryDream2, "1_x/list.json");
}

TEST_F(Mutations, KohyaMetadata) {
  run_scan("1_x/meta.json",
           "{\"1.png\": {\"caption\": \"a\", \"tags\": \"b, c\", \"image_size\": [1, 2]},\n \"1\": "
           "{\"caption\": null}}",
           {"{", "}", "[", "]", ",", ":", "\"", "null", "1e999", "\n"}, Dialect::kKohya,
           "1_x/meta.json");
  run_scan("1_x/meta.jsonl",
           "{\"image_path\": \"1.png\", \"caption\": \"a\", \"tags\": \"b, c\"}\n{\"image_path\": "
           "\"1.png\"}\n",
           {"{", "}", "[", "]", ",", ":", "\"", "null", "1e999", "\n"}, Dialect::kKohya,
           "1_x/meta.jsonl");
}

TEST_F(Mutations, WeightCsv) {
  run("weights.csv", "1_character,3\nclass1, 4\n\"a,\"\"b\",5\n*class[!2-9]?,6\n",
      {"\n", ",", "\"", "*", "[", "]", "1e999", "-1", "\xFF", "\r\n"}, 2000,
      [](const fs::path& path) {
        WeightCsv table(path);
        table.weight("class1", "set/1_character/class1");
      });
}

TEST_F(Mutations, ScreenshotMetadata) {
  run("1.json",
      "{\"characters\": [\"a\", \"unknown\"], \"general\": \"aniscreen\", \"tags\": {\"x\": 0.5, "
      "\"y\": 1},\n"
      "\"artist\": [], \"caption\": null, \"processed_tags\": [\"1girl\"]}",
      {"{", "}", "[", "]", ",", ":", "\"", "null", "1e999"}, 1500,
      [](const fs::path& path) { caption_from_metadata(path.string(), read_json(path)); });
}

TEST_F(Mutations, NpzLatents) {
  const fs::path whole = folder_.path() / "whole.npz";
  run_python_line(
      fmt::format("import numpy as np; np.savez('{}', latents=np.ones((4, 2, 2), 'f4'), "
                  "original_size=[8, 8], crop_ltrb=[0, 0, 8, 8])",
                  whole.string()));
  run("damaged.npz", read_file(whole),
      {"PK\1\2", "PK\3\4", "PK\5\6", "PK\6\6", "(4, 2, 2)", "(9223372036854775807, 2)",
       "{'descr': '<f8'", std::string(4, '\xFF'), std::string(4, '\0')},
      2000, [](const fs::path& path) { read_kohya_latents(path); });
}

TEST_F(Mutations, TextFiles) {
  write_text(folder_.path() / "1_x/multiply.txt", "1");
  run_scan("1_x/multiply.txt", "1.5\n", {"e", "-", "9", " ", "\xFF\xFE", std::string(5000, '1')},
           Dialect::kEveryDream2, ".");
}

}  // namespace
}  // namespace kessoku::data
