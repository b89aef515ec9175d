#include "runtime/run_folder.h"

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "runtime/checkpoint.h"

namespace kessoku::runtime {

namespace fs = std::filesystem;

RunFolder open_run_folder(const RunConfig& config, const std::string& out,
                          const std::string& resume) {
  RunFolder folder{out.empty() ? fs::path("runs") / config.name : fs::path(out), std::nullopt};
  if (resume == "auto") {
    folder.resume_from = latest_checkpoint(folder.path);
  } else if (resume == "never") {
    if (fs::exists(folder.path / "log.jsonl")) {
      throw UsageError(fmt::format(
          "{}: holds a run already: give another --out, or --resume auto to go on with it",
          folder.path.string()));
    }
  } else {
    folder.resume_from =
        fs::exists(fs::path(resume) / "checkpoints") ? latest_checkpoint(resume) : fs::path(resume);
    if (!folder.resume_from || !fs::exists(*folder.resume_from)) {
      throw UsageError(fmt::format(
          "--resume {}: there is no checkpoint; use auto, never, or a checkpoint's folder",
          resume));
    }
  }
  return folder;
}

void write_run_description(const fs::path& run, const RunConfig& config,
                           const std::vector<data::Category>& categories,
                           const data::Mixture& mixture, uint64_t pass_draws) {
  write_file_atomically(run / "config.toml", to_toml(config));
  nlohmann::json listed = nlohmann::json::array();
  for (size_t i = 0; i < categories.size(); ++i) {
    listed.push_back({{"path", categories[i].path},
                      {"examples", mixture.examples[i]},
                      {"share", mixture.category_share[i]}});
  }
  const nlohmann::json document{{"categories", listed}, {"pass_draws", pass_draws}};
  write_file_atomically(run / "mixture.json", document.dump(1) + "\n");
}

}  // namespace kessoku::runtime
