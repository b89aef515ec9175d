#include "launcher/model_folder.h"

#include "base/error.h"
#include "runtime/checkpoint/newest_model.h"

namespace kessoku::launcher {

namespace fs = std::filesystem;

ModelOptions model_options(const runtime::RunConfig& config) {
  return {config.model.path, config.model.config, config.model.vae, config.model.ema,
          config.data.front_end};
}

model::ModelSource resolve_model(const ModelOptions& options) {
  const fs::path path = options.path;
  model::ModelSource source{.path = path,
                            .config = options.config,
                            .vae = options.vae,
                            .tokenizer = default_tokenizer(),
                            .ema = options.ema};
  if (!options.front_end.empty()) source.front_end = model::parse_front_end(options.front_end);
  if (runtime::run_of_latest(path) ||
      (fs::is_directory(path) && !fs::exists(path / "config.json"))) {
    source.path = resolve_model_folder(path);
  }
  return source;
}

fs::path find_tokenizer(const ModelOptions& options) {
  const fs::path model = options.path, config = options.config;
  const fs::path newest = runtime::newest_model(model).value_or(fs::path());
  for (const fs::path& folder : {model, newest, config}) {
    if (!folder.empty() && fs::is_directory(folder / "tokenizer")) return folder / "tokenizer";
  }
  return default_tokenizer();
}

fs::path resolve_model_folder(const fs::path& path) {
  if (const std::optional<fs::path> run = runtime::run_of_latest(path)) {
    if (const std::optional<fs::path> newest = runtime::newest_model(*run)) return *newest;
  }
  if (!fs::exists(path)) throw UsageError(fmt::format("{}: no such folder", path.string()));
  if (fs::exists(path / "model_index.json")) return path;
  if (const std::optional<fs::path> newest = runtime::newest_model(path)) return *newest;
  throw UsageError(fmt::format(
      "{}: neither a model folder (it has no model_index.json) nor a run folder with a whole "
      "checkpoint",
      path.string()));
}

fs::path default_tokenizer() {
  constexpr const char* kPlace = "models/clip-tokenizer";
  std::error_code ignored;
  // build/kessoku, or lib/kessoku/kessoku of an installed tree
  const fs::path above = fs::read_symlink("/proc/self/exe", ignored).parent_path().parent_path();
  for (const fs::path& root : {fs::path(), above, above.parent_path() / "share/kessoku"}) {
    if (fs::exists(root / kPlace / "vocab.json")) return root / kPlace;
  }
  return {};
}

}  // namespace kessoku::launcher
