#include "runtime/supervision/host_list.h"

#include <unistd.h>

#include <charconv>
#include <chrono>
#include <memory>
#include <sstream>
#include <thread>

#include "base/error.h"
#include "base/text_file.h"
#include "runtime/supervision/child_process.h"

namespace kessoku::runtime {

namespace {

int parse_slots(const std::string& text, const std::string& where) {
  int slots = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), slots);
  if (error != std::errc() || end != text.data() + text.size() || slots < 1) {
    throw UsageError(fmt::format("{}: \"{}\" is no number of slots; write 1 or more", where, text));
  }
  return slots;
}

void require_name(const std::string& name, const std::string& where) {
  // What begins with - would be an option to the launch agent.
  if (name.empty() || name[0] == '-' || name.find_first_of(" \t/") != std::string::npos)
    throw UsageError(fmt::format("{}: \"{}\" is no host's name", where, name));
}

bool is_this_machine(const std::string& name) {
  char own[256] = {};
  ::gethostname(own, sizeof own - 1);
  return name == "localhost" || name == "127.0.0.1" || name == own;
}

std::vector<std::string> words_of(const std::string& line) {
  std::istringstream stream(line);
  std::vector<std::string> words;
  for (std::string word; stream >> word;) words.push_back(word);
  return words;
}

}  // namespace

std::vector<Host> parse_hosts(const std::string& list) {
  std::vector<Host> hosts;
  std::istringstream stream(list);
  for (std::string item; std::getline(stream, item, ',');) {
    const size_t colon = item.find(':');
    Host host{item.substr(0, colon)};
    require_name(host.name, "--hosts");
    if (colon != std::string::npos) host.slots = parse_slots(item.substr(colon + 1), "--hosts");
    hosts.push_back(std::move(host));
  }
  return hosts;
}

std::vector<Host> read_hostfile(const std::filesystem::path& file) {
  std::vector<Host> hosts;
  std::istringstream lines(read_utf8_file(file, 1 << 20));
  int number = 0;
  for (std::string line; std::getline(lines, line);) {
    const std::string where = fmt::format("{}, line {}", file.string(), ++number);
    const std::vector<std::string> words = words_of(line.substr(0, line.find('#')));
    if (words.empty()) continue;
    Host host{words[0]};
    require_name(host.name, where);
    for (size_t i = 1; i < words.size(); ++i) {
      if (words[i].starts_with("slots=")) host.slots = parse_slots(words[i].substr(6), where);
    }
    hosts.push_back(std::move(host));
  }
  if (hosts.empty()) throw UsageError(fmt::format("{}: names no host", file.string()));
  return hosts;
}

int slots_of(const std::vector<Host>& hosts) {
  int slots = 0;
  for (const Host& host : hosts) slots += host.slots;
  return slots;
}

std::string to_string(const std::vector<Host>& hosts) {
  std::string text;
  for (const Host& host : hosts)
    text += fmt::format("{}{}:{}", text.empty() ? "" : ",", host.name, host.slots);
  return text;
}

std::vector<Host> answering_hosts(const std::vector<Host>& hosts, const std::string& agent,
                                  double seconds) {
  std::vector<std::unique_ptr<ChildProcess>> asked;
  for (const Host& host : hosts) {
    std::vector<std::string> command = words_of(agent);
    command.insert(command.end(), {host.name, "true"});
    asked.push_back(is_this_machine(host.name) ? nullptr : std::make_unique<ChildProcess>(command));
  }
  using Clock = std::chrono::steady_clock;
  const auto end = Clock::now() + std::chrono::duration<double>(seconds);
  const auto open = [&] {
    return std::ranges::any_of(asked, [](const auto& one) { return one && !one->poll(); });
  };
  while (open() && Clock::now() < end) std::this_thread::sleep_for(std::chrono::milliseconds(20));
  std::vector<Host> answering;
  for (size_t i = 0; i < hosts.size(); ++i) {
    if (!asked[i] || asked[i]->poll() == 0) answering.push_back(hosts[i]);
  }
  return answering;
}

bool is_same_host(const std::string& listed, const std::string& name) {
  return listed == name || listed.substr(0, listed.find('.')) == name ||
         name.substr(0, name.find('.')) == listed ||
         (is_this_machine(listed) && is_this_machine(name));
}

int ranks_that_divide(uint64_t global_batch, int at_most) {
  int ranks = at_most;
  while (ranks > 1 && global_batch % static_cast<uint64_t>(ranks) != 0) --ranks;
  return ranks;
}

}  // namespace kessoku::runtime
