// Times the tokenizer, as tokenizer.py asks for it. The tokenizer's folder is the first argument.
// Reads commands from stdin, one a line, and answers each with one line:
//   load FILE     texts, one a line; how many
//   pass          seconds for all of them, each to 77 ids
//   ids           a number that depends on all ids and their order
#include <chrono>
#include <fstream>
#include <iostream>
#include <sstream>

#include "model/text/tokenizer.h"

namespace {

using kessoku::model::Tokenizer;

std::vector<std::string> read_lines(const std::string& path) {
  std::ifstream file(path);
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);) lines.push_back(line);
  return lines;
}

double time_pass(const Tokenizer& tokenizer, const std::vector<std::string>& texts) {
  const auto start = std::chrono::steady_clock::now();
  int64_t sum = 0;
  for (const std::string& text : texts) sum += tokenizer.tokenize(text).ids[1];
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  return sum < 0 ? 0 : seconds.count();
}

uint64_t digest_ids(const Tokenizer& tokenizer, const std::vector<std::string>& texts) {
  uint64_t digest = 0;
  for (const std::string& text : texts) {
    for (const int64_t id : tokenizer.tokenize(text).ids)
      digest = digest * 31 + static_cast<uint64_t>(id);
  }
  return digest;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return 64;
  const Tokenizer tokenizer = Tokenizer::load(argv[1]);
  std::vector<std::string> texts;
  for (std::string line; std::getline(std::cin, line);) {
    std::istringstream words(line);
    std::string command, file;
    words >> command >> file;
    if (command == "load") {
      texts = read_lines(file);
      std::cout << texts.size() << std::endl;
    } else if (command == "pass") {
      std::cout << time_pass(tokenizer, texts) << std::endl;
    } else {
      std::cout << digest_ids(tokenizer, texts) << std::endl;
    }
  }
  return 0;
}
