#include "metrics/report/report_samples.h"

#include <charconv>

#include "base/file.h"
#include "metrics/html.h"

namespace kessoku::metrics {

namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxGrids = 24;
constexpr uint64_t kMaxPngBytes = 32u << 20;
constexpr uint64_t kMaxPromptBytes = 1u << 20;
constexpr std::string_view kPngSignature = "\x89PNG\r\n\x1a\n";

/// The number in "step-00024000"; nothing for other names.
std::optional<uint64_t> step_of(std::string_view name) {
  constexpr std::string_view kPrefix = "step-";
  if (!name.starts_with(kPrefix)) return {};
  name.remove_prefix(kPrefix.size());
  uint64_t step = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), step);
  if (error != std::errc() || end != name.data() + name.size()) return {};
  return step;
}

std::vector<std::string> read_prompts(const fs::path& path) {
  std::vector<std::string> prompts;
  if (!fs::exists(path)) return prompts;
  const std::string text = read_file(path, kMaxPromptBytes);
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    if (end > begin) prompts.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return prompts;
}

void add_grid(const fs::path& folder, std::string title, bool of_step, ReportData& data) {
  const fs::path path = folder / "grid.png";
  if (fs::file_size(path) > kMaxPngBytes) {
    data.warnings.push_back(fmt::format("{} is too large to be shown.", path.string()));
    return;
  }
  std::string png = read_file(path, kMaxPngBytes);
  if (!png.starts_with(kPngSignature)) {
    data.warnings.push_back(fmt::format("{} is not a PNG file.", path.string()));
    return;
  }
  const bool large = !of_step || data.grids.empty();
  data.grids.push_back(
      {std::move(title), std::move(png), read_prompts(folder / "prompts.txt"), of_step, large});
}

}  // namespace

void read_samples(const fs::path& samples, ReportData& data) {
  if (!fs::is_directory(samples)) return;
  std::vector<std::pair<uint64_t, fs::path>> steps;
  std::vector<fs::path> finals;
  for (const fs::directory_entry& entry : fs::directory_iterator(samples)) {
    if (!fs::is_regular_file(entry.path() / "grid.png")) continue;
    const std::string name = entry.path().filename().string();
    if (const auto step = step_of(name)) steps.emplace_back(*step, entry.path());
    if (name.starts_with("final")) finals.push_back(entry.path());
  }
  std::sort(finals.begin(), finals.end());
  std::sort(steps.rbegin(), steps.rend());
  data.grids_found = finals.size() + steps.size();
  for (const fs::path& folder : finals) {
    const std::string kind = folder.filename().string().substr(5);
    const size_t word = kind.find_first_not_of("-_ ");
    add_grid(folder, word == std::string::npos ? "At the end" : "At the end: " + kind.substr(word),
             false, data);
  }
  const size_t shown = std::min(steps.size(), kMaxGrids);
  for (size_t i = 0; i < shown; ++i) {
    const size_t at = shown == 1 ? 0 : i * (steps.size() - 1) / (shown - 1);
    add_grid(steps[at].second, "Step " + grouped(steps[at].first), true, data);
  }
}

}  // namespace kessoku::metrics
