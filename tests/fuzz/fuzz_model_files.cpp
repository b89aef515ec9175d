// Reads damaged model files with the program's own readers: each must be read or refused with one
// line that names the file, soon, and without memory for what the file merely claims.
//
//   fuzz_model_files SEEDS WORK --rounds N|--seconds S [--seed K]
//
// SEEDS holds lone weight files, and folders of tokenizers and models (with a model_index.json).
// WORK/ gets copies, in which one file a round is damaged. On a failure the damaged file stays
// there as it was, and the exit code is 1.
#include <fmt/format.h>
#include <sys/resource.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <fstream>
#include <iostream>
#include <map>

#include "base/error.h"
#include "base/file.h"
#include "model/stable_diffusion/stable_diffusion.h"
#include "tests/fuzz/mutation.h"

namespace {

using namespace kessoku;
namespace fs = std::filesystem;

constexpr unsigned kSeconds = 20;              // that reading a file of a few kB may take
constexpr rlim_t kMemory = rlim_t{768} << 20;  // more than the process has when it begins

/// A file that is to be damaged, and what reads it.
struct Subject {
  fs::path file;
  std::string content;
  std::function<void()> read;
};

void read_weights(const fs::path& path) {
  const model::WeightFile file = model::open_weight_file(path);
  for (const std::string& name : file.names()) {
    const at::Tensor tensor = file.tensor(name);
    const model::WeightEntry& entry = file.entry(name);
    if (entry.end < entry.begin || tensor.dim() > 1000) throw std::logic_error("senseless tensor");
  }
  model::open_model({.path = path});
}

void read_tokenizer(const fs::path& folder) {
  const model::Tokenizer tokenizer = model::Tokenizer::load(folder);
  for (const int64_t id : tokenizer.tokenize("a cat's <|endoftext|> 猫 on 12").ids) {
    if (id < 0 || id >= tokenizer.size()) throw std::logic_error("an id that is none");
  }
}

std::vector<Subject> list_subjects(const fs::path& work) {
  std::vector<Subject> subjects;
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(work)) {
    if (!entry.is_regular_file()) continue;
    const fs::path path = entry.path(), top = work / *path.lexically_relative(work).begin();
    Subject subject{path, read_file(path), {}};
    if (top == path) {
      subject.read = [path] { read_weights(path); };
    } else if (fs::exists(top / "model_index.json")) {
      subject.read = [top] { model::load_model({.path = top}); };
    } else {
      subject.read = [top] { read_tokenizer(top); };
    }
    subjects.push_back(std::move(subject));
  }
  std::ranges::sort(subjects, {}, &Subject::file);
  return subjects;
}

/// What is wrong with how a file was read; empty if nothing is.
std::string find_fault(const Subject& subject, const fs::path& work, bool& accepted) {
  try {
    subject.read();
    accepted = true;
  } catch (const Error& error) {
    const std::string text = error.what();
    accepted = false;
    if (error.exit_code() != ExitCode::kBadData)
      return fmt::format("exit code {}: {}", static_cast<int>(error.exit_code()), text);
    const auto is_control = [](char c) { return static_cast<unsigned char>(c) < 0x20; };
    if (std::ranges::any_of(text, is_control)) return "more than one line: " + text;
    if (text.find(work.string()) == text.npos) return "names no file: " + text;
    if (text.size() > 2100) return "too long: " + text.substr(0, 200);
  } catch (const std::exception& error) {
    return fmt::format("not an error of ours: {}", error.what());
  }
  return {};
}

void write(const fs::path& path, const std::string& content) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << content;
}

/// What a file claims must not be believed. Sanitizers have their own limit, and much memory.
void limit_memory() {
#ifndef __SANITIZE_ADDRESS__
  rlimit limit{};
  std::ifstream status("/proc/self/statm");
  uint64_t pages = 0, resident = 0;
  uint64_t shared = 0, text = 0, unused = 0, data = 0;
  status >> pages >> resident >> shared >> text >> unused >> data;
  limit.rlim_cur = limit.rlim_max = data * static_cast<uint64_t>(::getpagesize()) + kMemory;
  ::setrlimit(RLIMIT_DATA, &limit);
#endif
}

std::string_view current;  // for the signal handler

void on_alarm(int) {
  constexpr std::string_view kText = "fuzz_model_files: takes too long: ";
  [[maybe_unused]] ssize_t written = ::write(2, kText.data(), kText.size());
  written = ::write(2, current.data(), current.size());
  written = ::write(2, "\n", 1);
  ::_exit(1);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 5) return 64;
  const fs::path seeds = argv[1], work = argv[2];
  std::map<std::string, uint64_t> options{{"--rounds", UINT64_MAX}, {"--seconds", 86400}};
  for (int i = 3; i + 1 < argc; i += 2) options[argv[i]] = std::stoull(argv[i + 1]);
  fs::remove_all(work);
  fs::copy(seeds, work, fs::copy_options::recursive);
  const std::vector<Subject> subjects = list_subjects(work);
  for (const Subject& subject : subjects) subject.read();  // whole they must be fine
  limit_memory();
  std::signal(SIGALRM, on_alarm);

  std::map<std::string, std::pair<uint64_t, uint64_t>> tally;  // rounds, accepted
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(options["--seconds"]);
  for (uint64_t round = 0; round < options["--rounds"]; ++round) {
    if (std::chrono::steady_clock::now() > end) break;
    RandomStream random(options["--seed"], Purpose::kNoise, round);
    const Subject& subject = subjects[random.below(subjects.size())];
    write(subject.file, fuzz::mutate(subject.content, random));
    const std::string name = subject.file.string();
    current = name;
    bool accepted = false;
    ::alarm(kSeconds);
    const std::string fault = find_fault(subject, work, accepted);
    ::alarm(0);
    if (!fault.empty()) {
      fmt::print(stderr, "fuzz_model_files: round {} (seed {}), {}: {}\n", round, options["--seed"],
                 name, fault);
      return 1;
    }
    write(subject.file, subject.content);
    auto& [rounds, read] = tally[subject.file.lexically_relative(work).string()];
    ++rounds;
    read += accepted;
  }
  uint64_t rounds = 0, read = 0;
  for (const auto& [name, counts] : tally) {
    fmt::print("{:60} {:8} damaged {:8} read all the same\n", name, counts.first, counts.second);
    rounds += counts.first;
    read += counts.second;
  }
  fmt::print("{} damaged files: {} refused, {} read\n", rounds, rounds - read, read);
  return rounds > read ? 0 : 1;
}
