#include "launcher/prompt_file.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <map>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/json.h"
#include "base/text.h"
#include "base/text_file.h"

namespace kessoku::launcher {

using nlohmann::json;
using runtime::GenerationSettings;
using runtime::SettingsText;

namespace {

constexpr uint64_t kMostBytes = uint64_t{64} << 20;

/// Flags of kohya's scripts and of A1111's script for prompt files, and what they are here.
const std::map<std::string, std::string> kFlags{
    {"n", "negative"},   {"negative_prompt", "negative"},
    {"w", "width"},      {"width", "width"},
    {"h", "height"},     {"height", "height"},
    {"d", "seed"},       {"seed", "seed"},
    {"s", "steps"},      {"steps", "steps"},
    {"l", "cfg"},        {"cfg_scale", "cfg"},
    {"prompt", "prompt"}};

/// A JSON value as the command line would have it; [512, 768] is a size.
std::string text_of(const json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_array() && value.size() == 2)
    return fmt::format("{}x{}", value[0].dump(), value[1].dump());
  return value.dump();
}

void parse_json_line(const std::string& text, PromptLine& line) {
  json object;
  try {
    object = parse_json(text, "line");
  } catch (const DataError&) {
  }
  if (!object.is_object()) {
    throw UsageError(
        "begins with { but is no JSON object, e.g. {\"prompt\": \"a cat\", \"seed\": 7}");
  }
  GenerationSettings checked;
  for (const auto& [key, value] : object.items()) {
    if (key == "count") {
      if (!value.is_number_integer() || value.get<int64_t>() < 1 || value.get<int64_t>() > 100'000)
        throw UsageError(fmt::format("count {}: must be between 1 and 100000", value.dump()));
      line.count = value.get<int64_t>();
    } else {
      runtime::set_setting(checked, key, text_of(value));
      line.settings.emplace(key, text_of(value));
    }
  }
}

/// Where the next flag, "--" and a letter after a space, begins; the end if there is none.
size_t find_flag(const std::string& text, size_t from) {
  for (size_t at = from; (at = text.find("--", at)) != text.npos; at += 2) {
    const bool apart = at == 0 || text[at - 1] == ' ' || text[at - 1] == '\t';
    const char letter = at + 2 < text.size() ? static_cast<char>(text[at + 2] | 0x20) : ' ';
    if (apart && letter >= 'a' && letter <= 'z') return at;
  }
  return text.size();
}

std::string unquoted(std::string text) {
  if (text.size() >= 2 && text.front() == '"' && text.back() == '"')
    text = text.substr(1, text.size() - 2);
  return text;
}

/// The prompt, and what its flags say. Gives the flags that have no counterpart here.
std::vector<std::string> parse_text_line(const std::string& text, PromptLine& line) {
  std::vector<std::string> unknown;
  SettingsText said;
  size_t at = find_flag(text, 0);
  said["prompt"] = CLI::detail::trim_copy(text.substr(0, at));
  while (at < text.size()) {
    const size_t next = find_flag(text, at + 2);
    const std::string flag = CLI::detail::trim_copy(text.substr(at + 2, next - at - 2));
    at = next;
    const size_t space = std::min(flag.find_first_of(" \t"), flag.size());
    const auto known = kFlags.find(flag.substr(0, space));
    if (known == kFlags.end()) {
      unknown.push_back("--" + flag);
    } else {
      said[known->second] = unquoted(CLI::detail::trim_copy(flag.substr(space)));
    }
  }
  if (said.contains("width") != said.contains("height"))
    throw UsageError("--w and --h go together; write both, e.g. --w 512 --h 768");
  if (said.contains("width")) {
    said["size"] = said["width"] + "x" + said["height"];
    said.erase("width");
    said.erase("height");
  }
  GenerationSettings checked;
  for (const auto& [key, value] : said) runtime::set_setting(checked, key, value);
  line.settings = std::move(said);
  return unknown;
}

}  // namespace

std::vector<PromptLine> read_prompt_file(const std::string& file, int64_t count,
                                         std::vector<std::string>& notes) {
  const Text content = read_text_file(file, kMostBytes);
  if (!content.warning.empty()) notes.push_back(fmt::format("{}: {}", file, content.warning));
  std::vector<PromptLine> lines;
  uint64_t comments = 0, number = 0;
  for (const std::string& raw : CLI::detail::split(content.text, '\n')) {
    const std::string text = CLI::detail::trim_copy(raw);
    PromptLine line{
        .where = fmt::format("{}, line {}", file, ++number), .settings = {}, .count = count};
    comments += text.starts_with('#');
    if (text.empty() || text.starts_with('#')) continue;
    try {
      if (text.starts_with('{')) {
        parse_json_line(text, line);
      } else {
        for (const std::string& flag : parse_text_line(text, line))
          notes.push_back(
              fmt::format("{}: {} is another program's flag, left out", line.where, flag));
      }
    } catch (const UsageError& error) {
      throw UsageError(fmt::format("{}: {}", line.where, error.what()));
    }
    lines.push_back(std::move(line));
  }
  if (comments > 0)
    notes.push_back(fmt::format("{}: {} that begin with # are comments, not drawn", file,
                                counted(comments, "line")));
  return lines;
}

}  // namespace kessoku::launcher
