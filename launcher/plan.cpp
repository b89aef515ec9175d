#include "data/plan.h"

#include <cerrno>
#include <cstring>
#include <fstream>

#include "base/error.h"
#include "launcher/commands.h"
#include "launcher/describe_store.h"
#include "launcher/model_folder.h"
#include "runtime/caption_lengths.h"
#include "runtime/config.h"

namespace kessoku::launcher {

using nlohmann::json;
namespace fs = std::filesystem;

namespace {

struct PlanArguments {
  std::string run_file, schedule;
  std::vector<std::string> overrides;
  uint64_t draws = 0;  ///< 0 = the whole run
  bool json = false;
};

/// RFC 4180: quoted only where it must be.
std::string csv_field(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char c : text) quoted += c == '"' ? "\"\"" : std::string(1, c);
  return quoted + '"';
}

/// Writes every draw, one a line; appears under its name when it is whole.
class ScheduleFile {
 public:
  ScheduleFile(const fs::path& path, const data::Store& store)
      : path_(path), part_(path.string() + ".tmp"), store_(store), file_(part_) {
    file_ << "draw,step,pass,bucket,category,source\n";
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
  void check() const {
    if (file_) return;
    throw UsageError(
        fmt::format("--schedule {}: cannot write: {}", path_.string(), std::strerror(errno)));
  }

  fs::path path_, part_;
  const data::Store& store_;
  std::ofstream file_;
};

json describe_plan(const data::Store& store, const data::Mixture& mixture,
                   const data::Sampler& sampler, const data::Plan& plan) {
  const data::StoreManifest& manifest = store.manifest();
  const uint64_t global_batch = sampler.global_batch();
  const uint64_t steps = (plan.draws + global_batch - 1) / global_batch;
  json result{{"examples", store.size()},     {"examples_drawn", plan.examples_drawn},
              {"global_batch", global_batch}, {"steps", steps},
              {"draws", plan.draws},          {"pass_draws", sampler.pass_draws()},
              {"categories", json::array()},  {"buckets", json::object()},
              {"warnings", mixture.warnings}};
  for (size_t i = 0; i < manifest.categories.size(); ++i) {
    const double share = mixture.category_share[i];
    result["categories"].push_back({{"path", manifest.categories[i].path},
                                    {"examples", mixture.examples[i]},
                                    {"share", share},
                                    {"draws_expected", share * static_cast<double>(plan.draws)},
                                    {"draws_planned", plan.category_draws[i]}});
  }
  for (size_t b = 0; b < manifest.buckets.size(); ++b) {
    result["buckets"][to_string(manifest.buckets[b])] = {{"examples", plan.bucket_examples[b]},
                                                         {"share", sampler.bucket_share()[b]}};
  }
  for (const std::string& warning : sampler.warnings(steps, manifest))
    result["warnings"].push_back(warning);
  return result;
}

/// What of the captions is cut off, where the model's tokenizer is at hand.
void warn_of_long_captions(const runtime::RunConfig& config, const data::Store& store,
                           json& warnings) {
  const fs::path tokenizer = find_tokenizer(model_options(config));
  if (config.trains("vae") || tokenizer.empty()) return;
  const auto lengths = runtime::measure_captions(store, model::Tokenizer::load(tokenizer), config);
  const std::string warning = runtime::warning_of(lengths, config);
  if (!warning.empty()) warnings.push_back(warning);
}

void print_plan(const json& plan) {
  const auto draws = plan["draws"].get<double>();
  fmt::print("{} steps x {} = {} draws, {:.4g} passes of {} draws; {} of {} examples are drawn\n\n",
             plan["steps"].get<uint64_t>(), plan["global_batch"].get<uint64_t>(),
             plan["draws"].get<uint64_t>(), draws / plan["pass_draws"].get<double>(),
             plan["pass_draws"].get<uint64_t>(), plan["examples_drawn"].get<uint64_t>(),
             plan["examples"].get<uint64_t>());
  fmt::print("  {:<40}{:>10}{:>10}{:>14}{:>12}{:>14}\n", "folder", "images", "share", "expected",
             "planned", "views/image");
  for (const json& category : plan["categories"]) {
    const auto examples = category["examples"].get<uint64_t>();
    const auto planned = category["draws_planned"].get<uint64_t>();
    fmt::print("  {:<40}{:>10}{:>8.2f} %{:>14.1f}{:>12}{:>14.2f}\n",
               category["path"].get<std::string>(), examples, 100 * category["share"].get<double>(),
               category["draws_expected"].get<double>(), planned,
               examples == 0 ? 0 : static_cast<double>(planned) / static_cast<double>(examples));
  }
  fmt::print("\n  {:<40}{:>10}{:>10}\n", "bucket", "images", "share");
  for (const auto& [name, bucket] : plan["buckets"].items()) {
    fmt::print("  {:<40}{:>10}{:>8.2f} %\n", name, bucket["examples"].get<uint64_t>(),
               100 * bucket["share"].get<double>());
  }
  if (!plan["warnings"].empty()) fmt::print("\n");
  for (const json& warning : plan["warnings"])
    fmt::print("warning: {}\n", warning.get<std::string>());
}

void run_plan(const PlanArguments& arguments) {
  const runtime::RunConfig config = runtime::load_config(arguments.run_file, arguments.overrides);
  const data::Store store(config.data.store);
  const data::StoreManifest& manifest = store.manifest();
  const data::Mixture mixture =
      data::resolve_mixture(manifest.categories, store.rows(), config.mixture.rules);
  const uint64_t global_batch = config.train.global_batch;
  data::Sampler sampler(store.rows(), manifest.buckets.size(), mixture,
                        {config.seed, global_batch, config.mixture.pass_draws});
  std::optional<ScheduleFile> schedule;
  if (!arguments.schedule.empty()) schedule.emplace(arguments.schedule, store);
  const uint64_t draws = arguments.draws > 0 ? arguments.draws : config.train.steps * global_batch;
  const data::Plan plan =
      data::make_plan(manifest, store.rows(), sampler, draws, [&](const data::Draw& draw) {
        if (schedule) schedule->add(draw, global_batch);
      });
  if (schedule) schedule->finish();
  json description = describe_plan(store, mixture, sampler, plan);
  warn_of_long_captions(config, store, description["warnings"]);
  if (arguments.json) {
    fmt::print("{}\n", dump(description));
  } else {
    print_plan(description);
  }
}

}  // namespace

void add_plan_command(CLI::App& app) {
  auto arguments = std::make_shared<PlanArguments>();
  CLI::App* command =
      app.add_subcommand("plan", "Show what a run file would train on: shares, views, buckets");
  command->add_option("RUN.toml", arguments->run_file, "Run file")->required();
  command->add_option("--draws", arguments->draws, "Plan so many draws instead of the whole run")
      ->check(CLI::PositiveNumber);
  command->add_flag("--json", arguments->json, "Print JSON");
  command->add_option("--schedule", arguments->schedule, "Write every draw as CSV");
  command
      ->add_option("--set", arguments->overrides,
                   "section.key=value, over the run file; may be repeated")
      ->take_all()
      ->expected(1)
      ->allow_extra_args(false);
  command->footer("Example: kessoku plan configs/demo.toml --schedule schedule.csv");
  command->callback([arguments] { run_plan(*arguments); });
}

}  // namespace kessoku::launcher
