#include "data/prepare.h"

#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>
#include <spdlog/spdlog.h>

#include <chrono>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/error.h"
#include "launcher/commands.h"
#include "launcher/describe_store.h"
#include "launcher/model_folder.h"
#include "metrics/progress.h"
#include "model/stable_diffusion.h"
#include "runtime/communicator.h"

namespace kessoku::launcher {

namespace {

constexpr size_t kShown = 8;  ///< entries of a list in the summary

struct PrepareArguments {
  std::string dataset, store, dialect = "everydream2", keep = "moments";
  int64_t resolution = 512;
  int threads = 0;
  bool strict = false, json = false;
  ModelOptions model;
};

std::vector<data::Kind> parse_keep(const std::string& list) {
  std::vector<data::Kind> kinds;
  for (const std::string& name : CLI::detail::split(list, ',')) {
    kinds.push_back(data::parse_kind(CLI::detail::trim_copy(name)));
  }
  return kinds;
}

bool needs_vae(const std::vector<data::Kind>& keep) {
  return std::ranges::any_of(keep, [](data::Kind kind) { return kind != data::Kind::kImages; });
}

/// data/ knows no models: it gets the VAE as a function.
void use_vae(ModelOptions source, data::PrepareOptions& options) {
  if (source.path.empty()) source.path = std::exchange(source.vae, {});
  if (source.path.empty()) {
    throw UsageError(
        "prepare: latents and moments need a VAE: give --model DIR or --vae FILE, or --keep "
        "images");
  }
  const auto vae = std::make_shared<model::Vae>(model::load_vae(resolve_model(source)));
  const int64_t granularity = vae->config().downscale();
  for (const data::Bucket& bucket : data::bucket_table(options.resolution)) {
    if (bucket.width % granularity != 0 || bucket.height % granularity != 0) {
      throw UsageError(
          fmt::format("prepare: {}'s VAE needs sides divisible by {}, bucket {} has not",
                      source.path, granularity, to_string(bucket)));
    }
  }
  options.encoder = {model::vae_digest(*vae), vae->config().scaling_factor};
  options.encode = [vae](const at::Tensor& images) {
    const c10::NoGradGuard no_grad;
    return vae->encode(images);
  };
}

/// Shows one stage after another on one rank's terminal.
std::function<void(uint64_t, uint64_t)> show_progress(const std::string& what, bool quiet) {
  auto line = std::make_shared<std::unique_ptr<metrics::Progress>>();
  return [=](uint64_t done, uint64_t total) {
    if (!*line) *line = std::make_unique<metrics::Progress>(what, "images", total, 0, quiet);
    (*line)->update(done);
    if (done == total) line->reset();
  };
}

void print_list(const char* what, const std::vector<std::string>& lines) {
  if (lines.empty()) return;
  fmt::print("{} {}:\n", lines.size(), what);
  for (size_t i = 0; i < std::min(lines.size(), kShown); ++i) fmt::print("  {}\n", lines[i]);
  if (lines.size() > kShown) fmt::print("  ... and {} more\n", lines.size() - kShown);
}

void print_summary(const PrepareArguments& arguments, const data::PrepareSummary& summary,
                   double seconds) {
  if (summary.unchanged) {
    fmt::print("{}: nothing has changed, {} examples ({:.1f} s)\n", arguments.store,
               summary.examples, seconds);
  } else {
    fmt::print("{}: {} examples, {} encoded, {} reused ({:.1f} s)\n", arguments.store,
               summary.examples, summary.encoded, summary.reused, seconds);
    print_store(describe_store(arguments.store), kShown);
  }
  std::vector<std::string> skipped;
  for (const data::Skipped& entry : summary.skipped)
    skipped.push_back(entry.source + ": " + entry.reason);
  print_list("images skipped", skipped);
  print_list("warnings", summary.warnings);
}

void print_json(const data::PrepareSummary& summary, double seconds) {
  nlohmann::json skipped = nlohmann::json::array();
  for (const data::Skipped& entry : summary.skipped) {
    skipped.push_back({{"source", entry.source}, {"reason", entry.reason}});
  }
  fmt::print("{}\n", dump({{"examples", summary.examples},
                           {"encoded", summary.encoded},
                           {"reused", summary.reused},
                           {"unchanged", summary.unchanged},
                           {"skipped", skipped},
                           {"warnings", summary.warnings},
                           {"seconds", seconds}}));
}

void run_prepare(const PrepareArguments& arguments) {
  const auto began = std::chrono::steady_clock::now();
  data::PrepareOptions options{.dataset = arguments.dataset, .store = arguments.store};
  options.dialect = data::parse_dialect(arguments.dialect);
  options.resolution = arguments.resolution;
  options.keep = parse_keep(arguments.keep);
  options.strict = arguments.strict;
  if (needs_vae(options.keep)) use_vae(arguments.model, options);

  const std::unique_ptr<runtime::Communicator> communicator = runtime::make_communicator();
  options.rank = communicator->rank();
  options.ranks = communicator->size();
  options.barrier = [&] { communicator->barrier(); };
  const int cores = static_cast<int>(std::thread::hardware_concurrency());
  options.threads =
      arguments.threads > 0 ? arguments.threads : std::max(1, cores / communicator->local_size());
  at::set_num_threads(options.threads);
  const bool first = options.rank == 0;
  options.on_check = show_progress("check", !first);
  options.on_progress = show_progress("prepare", !first);

  const data::PrepareSummary summary = data::prepare_store(options);
  if (!first) return;
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  if (arguments.json) {
    print_json(summary, seconds);
  } else {
    print_summary(arguments, summary, seconds);
  }
}

}  // namespace

void add_prepare_command(CLI::App& app) {
  auto arguments = std::make_shared<PrepareArguments>();
  CLI::App* command =
      app.add_subcommand("prepare", "Turn a folder of captioned images into a store to train from");
  command->add_option("DATASET", arguments->dataset, "Folder of images and captions")->required();
  command
      ->add_option("--out", arguments->store, "Folder of the store; what it has already is reused")
      ->required();
  command->add_option("--model", arguments->model.path,
                      "Model folder, lone weight file or run folder whose VAE encodes; needed "
                      "unless --keep images");
  add_vae_options(*command, arguments->model);
  command
      ->add_option("--resolution", arguments->resolution,
                   "Side of a square picture in pixels; chooses the buckets")
      ->capture_default_str();
  command->add_option("--dialect", arguments->dialect, "How folders are read")
      ->capture_default_str();
  command
      ->add_option("--keep", arguments->keep,
                   "What to keep, comma-separated: images, latents, moments")
      ->capture_default_str();
  command
      ->add_option("--threads", arguments->threads,
                   "Threads of this process (0: its share of the cores)")
      ->check(CLI::NonNegativeNumber);
  command->add_flag("--strict", arguments->strict, "Stop, after listing all, when an image is bad");
  command->add_flag("--json", arguments->json, "Print the summary as JSON");
  command->footer(
      "Under mpirun the work is shared among the ranks.\n"
      "Example: kessoku prepare photos --out store --model models/base --resolution 512");
  command->callback([arguments] { run_prepare(*arguments); });
}

}  // namespace kessoku::launcher
