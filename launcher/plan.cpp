#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>

#include "base/error.h"
#include "base/json.h"
#include "base/log.h"
#include "base/process/process.h"
#include "launcher/commands.h"
#include "launcher/describe_plan.h"
#include "launcher/describe_scaling.h"
#include "launcher/model_folder.h"
#include "launcher/plan_scaling.h"
#include "runtime/config/config.h"
#include "runtime/run/caption_lengths.h"
#include "runtime/run/compatibility.h"
#include "runtime/run/run_warnings.h"
#include "runtime/run/training_data.h"
#include "runtime/run/training_model.h"
#include "runtime/training/reproducibility.h"

namespace kessoku::launcher {

namespace fs = std::filesystem;

namespace {

/// Writes every draw, one a line; appears under its name when it is whole.
class ScheduleFile {
 public:
  /// Throws UsageError if `path` is there and no such file.
  ScheduleFile(const fs::path& path, const data::Store& store)
      : path_(path), part_(path.string() + fmt::format(".tmp{}", ::getpid())), store_(store) {
    require_schedule(path);
    file_.open(part_);
    file_ << kColumns;
    check();
  }
  ScheduleFile(const ScheduleFile&) = delete;
  ~ScheduleFile() {
    std::error_code ignored;
    fs::remove(part_, ignored);  // after `finish` there is none
  }
  void add(const data::Draw& draw, uint64_t global_batch) {
    const data::StoreManifest& manifest = store_.manifest();
    const data::Row& row = store_.rows()[draw.example];
    file_ << fmt::format("{},{},{},{},{},{}\n", draw.number, draw.number / global_batch, draw.pass,
                         to_string(manifest.buckets[draw.bucket]),
                         csv_field(manifest.categories[row.category].path),
                         csv_field(store_.source(draw.example)));
  }
  void finish() {
    file_.close();
    check();
    std::error_code error;
    fs::rename(part_, path_, error);
    if (error) throw UsageError(fmt::format("--schedule {}: {}", path_.string(), error.message()));
  }

 private:
  static constexpr std::string_view kColumns = "draw,step,pass,bucket,category,source\n";

  static void require_schedule(const fs::path& path) {
    if (!fs::exists(path)) return;
    std::string start(kColumns.size(), '\0');
    std::ifstream(path).read(start.data(), static_cast<std::streamsize>(start.size()));
    if (start == kColumns) return;
    throw UsageError(fmt::format(
        "--schedule {}: is there already, and no file that kessoku plan wrote: give another name",
        path.string()));
  }
  void check() const {
    if (file_) return;
    throw UsageError(
        fmt::format("--schedule {}: cannot write: {}", path_.string(), std::strerror(errno)));
  }

  fs::path path_, part_;
  const data::Store& store_;
  std::ofstream file_;
};

/// What of the captions is cut off, where the model's tokenizer is at hand.
void warn_of_long_captions(const runtime::RunConfig& config, const data::Store& store,
                           std::vector<std::string>& warnings) {
  const fs::path folder = find_tokenizer(model_options(config));
  if (config.trains("vae") || folder.empty()) return;
  std::optional<model::FrontEnd> front_end;
  if (!config.data.front_end.empty()) front_end = model::parse_front_end(config.data.front_end);
  const auto lengths =
      runtime::measure_captions(store, model::Tokenizer::load(folder, front_end), config);
  const std::string warning = runtime::warning_of(lengths, config);
  if (!warning.empty()) warnings.push_back(warning);
}

}  // namespace

void run(const PlanArguments& arguments) {
  runtime::RunConfig config = runtime::load_config(arguments.run_file, arguments.overrides);
  runtime::TrainingData data(config);
  runtime::require_store(config, data.store);
  const uint64_t program = process_memory().resident;  // before networks are loaded
  const bool model_is_there = fs::exists(config.model.path);
  if (model_is_there)
    runtime::TrainingModel(config, data.store, resolve_model(model_options(config)));
  std::optional<ScheduleFile> schedule;
  if (!arguments.schedule.empty()) schedule.emplace(arguments.schedule, data.store);
  const data::StoreManifest& manifest = data.store.manifest();
  const uint64_t global_batch = config.train.global_batch;
  const uint64_t draws = arguments.draws > 0 ? arguments.draws : config.train.steps * global_batch;
  const data::DrawCounts plan =
      data::count_draws(manifest, data.store.rows(), data.examples, data.mixture, data.sampler,
                        draws, [&](const data::Draw& draw) {
                          if (schedule) schedule->add(draw, global_batch);
                        });
  if (schedule) schedule->finish();
  DrawPlan description = describe_plan(manifest, data.mixture, data.sampler, plan);
  std::vector<std::string>& warnings = description.warnings;
  for (const std::string& warning : runtime::run_warnings(config, data.store))
    warnings.push_back(warning);
  const std::string dependence = runtime::rank_dependence(config, 1);
  if (!dependence.empty())
    warnings.push_back("results depend on the number of ranks: " + dependence);
  warn_of_long_captions(config, data.store, warnings);
  if (!model_is_there) {
    warnings.push_back(fmt::format(
        "model.path = {}: is not there; whether it fits has not been checked", config.model.path));
  }
  std::optional<Scaling> scaling;
  if (!arguments.scaling.ranks.empty())
    scaling = plan_scaling(config, data, arguments.scaling, program);
  if (arguments.json) {
    nlohmann::json document = to_json(description);
    if (scaling) document["scaling"] = to_json(*scaling);
    fmt::print("{}\n", to_text(document, 1));
  } else if (arguments.csv) {
    fmt::print("{}", plan_csv(description));
    for (const std::string& warning : warnings) write_warning(warning);
  } else {
    fmt::print("{}{}", plan_table(description), scaling ? scaling_table(*scaling) : "");
  }
}

}  // namespace kessoku::launcher
