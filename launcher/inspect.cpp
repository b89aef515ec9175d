#include <cmath>
#include <functional>
#include <optional>
#include <type_traits>

#include "base/error.h"
#include "base/json.h"
#include "launcher/commands.h"
#include "launcher/describe_model.h"
#include "launcher/describe_store.h"
#include "metrics/ledger/ledger_findings.h"
#include "metrics/run_log.h"

namespace kessoku::launcher {

using nlohmann::json;
namespace fs = std::filesystem;

namespace {

struct RunContents {
  uint64_t step = 0, draws = 0;
  std::optional<double> loss;  ///< of the last step, if it was finite
  std::vector<std::string> checkpoints;
  std::optional<metrics::LedgerFindings> ledger;
};

RunContents describe_run(const fs::path& path) {
  RunContents run;
  if (fs::exists(path / "log.jsonl")) {
    if (const auto last = metrics::last_record(path / "log.jsonl")) {
      run.step = last->step;
      run.draws = last->draws;
      if (std::isfinite(last->loss)) run.loss = last->loss;
    }
  }
  if (fs::is_directory(path / "checkpoints")) {
    for (const auto& entry : fs::directory_iterator(path / "checkpoints")) {
      const std::string name = entry.path().filename().string();
      if (name.starts_with("step-") && name.find('.') == std::string::npos)
        run.checkpoints.push_back(name);
    }
    std::ranges::sort(run.checkpoints);
  }
  run.ledger = metrics::findings_of(path);
  return run;
}

json to_json(const metrics::LedgerFindings& ledger) {
  const auto images = [](const std::vector<metrics::LearnedImage>& list) {
    json out = json::array();
    for (const metrics::LearnedImage& image : list) {
      out.push_back({{"image", image.source},
                     {"folder", image.folder},
                     {"draws", image.losses.count},
                     {"mean", image.losses.mean()},
                     {"spread", image.losses.spread()},
                     {"relative", image.relative},
                     {"deviation", image.deviation}});
    }
    return out;
  };
  json folders = json::array();
  for (const metrics::LearnedFolder& folder : ledger.folders) {
    json bins = json::array();
    for (const metrics::LossSum& bin : folder.bins) bins.push_back(bin.mean());
    folders.push_back({{"folder", folder.folder},
                       {"images", folder.images},
                       {"draws", folder.total().count},
                       {"mean", folder.total().mean()},
                       {"spread", folder.total().spread()},
                       {"mean_by_timestep", bins}});
  }
  return {{"first_step", ledger.first_step},
          {"step", ledger.step},
          {"folders", folders},
          {"worst", images(ledger.worst)},
          {"best", images(ledger.best)},
          {"suspicious", images(ledger.suspicious)}};
}

json to_json(const RunContents& run) {
  json out = {{"step", run.step},
              {"draws", run.draws},
              {"loss", run.loss ? json(*run.loss) : json()},
              {"checkpoints", run.checkpoints}};
  if (run.ledger) out["ledger"] = to_json(*run.ledger);
  return out;
}

void print_images(const char* title, const std::vector<metrics::LearnedImage>& images) {
  if (images.empty()) return;
  fmt::print("{}\n", title);
  for (const metrics::LearnedImage& image : images) {
    fmt::print("  {:5.2f} {:6.1f} {:6}  {}\n", image.relative, image.deviation, image.losses.count,
               image.source);
  }
}

void print_ledger(const metrics::LedgerFindings& ledger) {
  fmt::print("losses of steps {} to {}\n", ledger.first_step + 1, ledger.step);
  for (const metrics::LearnedFolder& folder : ledger.folders) {
    const metrics::LossSum total = folder.total();
    fmt::print("  {:.4f} ± {:.4f} in {} draws of {} images  {}\n", total.mean(), total.spread(),
               total.count, folder.images, folder.folder);
  }
  if (!ledger.best.empty())
    fmt::print("loss relative to all at the same timesteps, deviation from the folder, draws:\n");
  print_images("far above their folder (wrong captions, damaged, or unlike the others)",
               ledger.suspicious);
  print_images("learned worst", ledger.worst);
  print_images("learned best", ledger.best);
}

void print_run(const RunContents& run) {
  fmt::print("step {}, {} draws, loss {}\n", run.step, run.draws,
             run.loss ? fmt::format("{:.5f}", *run.loss) : "unknown");
  for (const std::string& checkpoint : run.checkpoints)
    fmt::print("  checkpoints/{}\n", checkpoint);
  if (run.ledger) print_ledger(*run.ledger);
}

void print_whole_store(const fs::path& path, const StoreContents& store) {
  fmt::print("{} examples, {} skipped\n", store.examples, store.skipped.size());
  print_store_format(path);
  print_store(store, SIZE_MAX);
  for (const data::Skipped& entry : store.skipped)
    fmt::print("  skipped: {}: {}\n", entry.source, entry.reason);
  for (const std::string& warning : store.warnings) fmt::print("  warning: {}\n", warning);
}

/// As JSON, or by `print`.
template <typename Contents>
void show(const InspectArguments& arguments, const Contents& contents,
          const std::type_identity_t<std::function<void(const Contents&)>>& print) {
  if (arguments.json) {
    fmt::print("{}\n", to_text(to_json(contents), 1));
  } else {
    print(contents);
  }
}

}  // namespace

/// What a path is, is told by the file that makes it so.
void run(const InspectArguments& arguments) {
  if (arguments.verify) return verify_store(arguments.path, arguments.threads, arguments.json);
  if (arguments.captions) return print_captions(arguments.path, arguments.json);
  const fs::path path = arguments.path;
  if (!fs::exists(path))
    throw UsageError(fmt::format("inspect: {}: no such file or folder", path.string()));
  if (fs::is_regular_file(path)) {
    return show(arguments, describe_weight_file(path, arguments.config),
                [&](const auto& weights) { print_weight_file(weights, arguments.tensors); });
  }
  if (!arguments.config.empty())
    throw UsageError("inspect: --config is for lone weight files, not for folders");
  if (fs::exists(path / "store.json")) {
    return show(arguments, describe_store(path),
                [&](const auto& store) { print_whole_store(path, store); });
  }
  if (fs::exists(path / "model_index.json") || fs::exists(path / "config.json"))
    return show(arguments, describe_model_folder(path), print_model_folder);
  if (fs::exists(path / "log.jsonl") || fs::is_directory(path / "checkpoints"))
    return show(arguments, describe_run(path), print_run);
  throw UsageError(
      fmt::format("inspect: {}: neither a store (store.json), a model folder or checkpoint "
                  "(model_index.json) nor a run "
                  "folder (log.jsonl)",
                  path.string()));
}

}  // namespace kessoku::launcher
