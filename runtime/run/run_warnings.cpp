#include "runtime/run/run_warnings.h"

#include <algorithm>

#include "base/text.h"
#include "data/captions/caption_edit.h"
#include "data/store/store_warnings.h"

namespace kessoku::runtime {

namespace {

std::string in_lower_case(std::string text) {
  std::ranges::transform(text, text.begin(), [](unsigned char c) { return std::tolower(c); });
  return text;
}

/// The renames that change no caption, after those before them.
void warn_of_idle_renames(const RunConfig& config, const data::Store& store,
                          std::vector<std::string>& warnings) {
  const auto& renames = config.data.caption_rename;
  std::vector<size_t> changed(renames.size()), in_other_case(renames.size());
  for (size_t example = 0; example < store.size() && !renames.empty(); ++example) {
    std::string caption = store.caption(example);
    for (size_t i = 0; i < renames.size(); ++i) {
      std::string renamed = data::rename_words(caption, {renames[i]});
      const std::string lower = in_lower_case(caption);
      changed[i] += renamed != caption;
      in_other_case[i] +=
          data::rename_words(lower, {{in_lower_case(renames[i].first), "\n"}}) != lower;
      caption = std::move(renamed);
    }
  }
  for (size_t i = 0; i < renames.size(); ++i) {
    if (changed[i] > 0) continue;
    std::string text =
        fmt::format("data.caption_rename: no caption has the word \"{}\"", renames[i].first);
    if (in_other_case[i] > 0) {
      text +=
          fmt::format("; {} have it in other upper and lower case, which counts", in_other_case[i]);
    }
    warnings.push_back(text);
  }
}

}  // namespace

std::vector<std::string> run_warnings(const RunConfig& config, const data::Store& store) {
  std::vector<std::string> warnings = settings_warnings(config);
  const auto& settings = store.manifest().settings;
  if (config.data.keep_tags > 0 && !config.data.shuffle_tags &&
      std::ranges::none_of(settings, &data::Settings::shuffle_tags)) {
    warnings.push_back(
        fmt::format("data.keep_tags = {} has no effect without data.shuffle_tags, or "
                    "shuffle_tags.txt in a folder",
                    config.data.keep_tags));
  }
  warn_of_idle_renames(config, store, warnings);
  for (std::string& warning :
       shortened(data::store_warnings(store), "about the dataset, see kessoku inspect"))
    warnings.push_back(std::move(warning));
  return warnings;
}

}  // namespace kessoku::runtime
