#include "data/prepare/prepare.h"

#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>
#include <spdlog/spdlog.h>

#include <chrono>
#include <mutex>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "launcher/commands.h"
#include "launcher/describe_store.h"
#include "launcher/model_folder.h"
#include "metrics/progress.h"
#include "model/stable_diffusion/stable_diffusion.h"
#include "runtime/communication/communicator.h"
#include "runtime/host/device.h"
#include "runtime/host/process_resources.h"

namespace kessoku::launcher {

namespace {

constexpr size_t kShown = 8;  ///< entries of a list in the summary

struct PrepareArguments {
  std::string dataset, store, dialect = "everydream2", keep = "moments";
  std::string weights, buckets = "everydream", background = "white";
  int64_t resolution = 512, variants = 1;
  uint64_t most_pixels = data::kMostPixels;
  int threads = 0;
  bool strict = false, captions_only = false, replace = false, json = false;
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

/// VAEs serve well beyond the size that they were made for, but not everywhere.
void warn_of_other_size(const model::Vae& vae, int64_t resolution) {
  constexpr int64_t kFar = 4;
  const int64_t side = std::max(vae.config().sample_size[0], vae.config().sample_size[1]);
  if (resolution >= kFar * side)
    spdlog::warn("the model is made for images of about {} pixels a side, and --resolution is {}",
                 side, resolution);
}

/// data/ knows no models: it gets the VAE as a function.
void use_vae(ModelOptions source, const runtime::Communicator& communicator,
             data::PrepareOptions& options) {
  if (source.path.empty()) source.path = std::exchange(source.vae, {});
  if (source.path.empty()) {
    throw UsageError(
        "prepare: latents and moments need a VAE: give --model DIR or --vae FILE, or --keep "
        "images");
  }
  const auto vae = std::make_shared<model::Vae>(model::load_vae(resolve_model(source)));
  const int64_t granularity = vae->config().downscale();
  for (const data::Bucket& bucket : options.fit.table) {
    if (bucket.width % granularity != 0 || bucket.height % granularity != 0) {
      throw UsageError(
          fmt::format("prepare: {}'s VAE needs sides divisible by {}, bucket {} has not",
                      source.path, granularity, to_string(bucket)));
    }
  }
  if (communicator.rank() == 0) warn_of_other_size(*vae, options.resolution);
  options.encoder = {model::vae_digest(*vae), vae->config().scaling_factor};
  options.latent_channels = vae->config().latent_channels;
  options.downscale = granularity;
  const at::Device device =
      runtime::choose_device(source.device, communicator.local_rank(), communicator.local_size());
  model::move_parameters(vae->parameters(), device);
  options.encode = [vae, device, one = std::make_shared<std::mutex>()](const at::Tensor& image) {
    // Every core has an image of its own: that wastes nothing, and how an image is added up does
    // not depend on how many cores there are.
    thread_local const bool alone = (at::set_num_threads(1), true);
    static_cast<void>(alone);
    const c10::NoGradGuard no_grad;
    if (device.is_cpu()) return vae->encode(image);
    const std::lock_guard lock(*one);  // more at once would take its memory, not its time
    return vae->encode(image.to(device)).cpu();
  };
}

/// Shows one stage after another on one rank's terminal.
class StageProgress {
 public:
  StageProgress(bool quiet, int ranks)
      : quiet_(quiet), unit_(ranks > 1 ? "images of rank 0" : "images") {}

  void show(const std::string& stage, uint64_t done, uint64_t total) {
    if (stage != stage_ || !line_) {
      line_.reset();
      line_ = std::make_unique<metrics::Progress>(stage, unit_, total, 0, quiet_);
      stage_ = stage;
    }
    line_->update(done);
    if (done == total && total > 0) line_.reset();
  }

 private:
  bool quiet_;
  std::string unit_, stage_;
  std::unique_ptr<metrics::Progress> line_;
};

void print_list(const char* what, const std::vector<std::string>& lines) {
  if (lines.empty()) return;
  fmt::print("{}: {}\n", what, lines.size());
  for (size_t i = 0; i < std::min(lines.size(), kShown); ++i) fmt::print("  {}\n", lines[i]);
  if (lines.size() > kShown) fmt::print("  ... and {} more, see --json\n", lines.size() - kShown);
}

void print_summary(const PrepareArguments& arguments, const data::PrepareSummary& summary,
                   double seconds) {
  if (summary.unchanged && summary.refreshed == 0) {
    fmt::print("{}: nothing has changed, {} examples ({:.1f} s)\n", arguments.store,
               summary.examples, seconds);
  } else if (summary.unchanged) {
    fmt::print(
        "{}: {} of {} examples have new captions or settings, no image was touched ({:.1f} s)\n",
        arguments.store, summary.refreshed, summary.examples, seconds);
  } else {
    fmt::print("{}: {} examples, {} encoded, {} reused ({:.1f} s)\n", arguments.store,
               summary.examples, summary.encoded, summary.reused, seconds);
    print_store(describe_store(arguments.store), kShown);
  }
  std::vector<std::string> skipped;
  for (const data::Skipped& entry : summary.skipped)
    skipped.push_back(entry.source + ": " + entry.reason);
  print_list("skipped images", skipped);
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
                           {"refreshed", summary.refreshed},
                           {"unchanged", summary.unchanged},
                           {"skipped", skipped},
                           {"warnings", summary.warnings},
                           {"seconds", seconds}}));
}

data::PrepareOptions prepare_options(const PrepareArguments& arguments,
                                     const runtime::Communicator& communicator) {
  data::PrepareOptions options{.dataset = arguments.dataset, .store = arguments.store};
  options.reading = {data::parse_dialect(arguments.dialect), arguments.weights};
  options.resolution = arguments.resolution;
  options.fit = {data::parse_buckets(arguments.buckets, arguments.resolution), arguments.variants,
                 data::parse_color(arguments.background), arguments.most_pixels};
  options.keep = parse_keep(arguments.keep);
  options.strict = arguments.strict;
  options.captions_only = arguments.captions_only;
  options.replace = arguments.replace;
  if (needs_vae(options.keep) && !options.captions_only)
    use_vae(arguments.model, communicator, options);
  return options;
}

data::PrepareSummary prepare_or_list(const data::PrepareOptions& options) {
  try {
    return data::prepare_store(options);
  } catch (const data::BadImages& bad) {
    for (const data::Skipped& entry : bad.images()) {
      if (options.rank == 0) fmt::print(stderr, "  {}: {}\n", entry.source, entry.reason);
    }
    throw;
  }
}

void run_prepare(const PrepareArguments& arguments) {
  const auto began = std::chrono::steady_clock::now();
  const std::unique_ptr<runtime::Communicator> communicator = runtime::make_communicator();
  data::PrepareOptions options = prepare_options(arguments, *communicator);
  options.rank = communicator->rank();
  options.ranks = communicator->size();
  options.gather = [&](const std::string& text) { return communicator->all_gather_text(text); };
  options.threads = runtime::use_cores(arguments.threads, communicator->local_size());
  const bool first = options.rank == 0;
  options.reading.on_failure = [first](const std::vector<std::string>& warnings) {
    for (const std::string& warning : warnings)
      if (first) spdlog::warn("{}", warning);
  };
  StageProgress progress(!first, options.ranks);
  options.on_progress = [&](const char* stage, uint64_t done, uint64_t total) {
    progress.show(stage, done, total);
  };

  const data::PrepareSummary summary = prepare_or_list(options);
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
  command
      ->add_option("DATASET", arguments->dataset,
                   "Folder of images and captions, or a list of them: .json (everydream2, kohya), "
                   ".jsonl (kohya)")
      ->required();
  command
      ->add_option("--out", arguments->store, "Folder of the store; what it has already is reused")
      ->required();
  command->add_option("--model", arguments->model.path,
                      "Model folder, lone weight file or run folder whose VAE encodes; needed "
                      "unless --keep images");
  add_vae_options(*command, arguments->model);
  add_device_option(*command, arguments->model.device);
  command
      ->add_option("--resolution", arguments->resolution,
                   "Side of a square image in pixels; chooses the buckets")
      ->capture_default_str();
  command
      ->add_option("--buckets", arguments->buckets,
                   "Sizes that images are brought to: everydream, everydream1, kohya, a list such "
                   "as 512x512,640x384, or a file with one")
      ->capture_default_str();
  command
      ->add_option("--dialect", arguments->dialect,
                   "Whose rules say what folders and files mean: " + data::describe_dialects())
      ->capture_default_str();
  command->add_option("--weights", arguments->weights,
                      "Weights of folders, a CSV of PATTERN,WEIGHT (screenshot-pipeline)");
  command
      ->add_option("--keep", arguments->keep,
                   "What to keep, comma-separated: images, latents, moments")
      ->capture_default_str();
  command
      ->add_option("--threads", arguments->threads,
                   "Threads of this process (0: its share of the cores)")
      ->check(CLI::NonNegativeNumber);
  command
      ->add_option("--variants", arguments->variants,
                   "Crops and mirror images kept of each image: 1 is the center, 2 that and its "
                   "mirror image, more have other crops, too")
      ->capture_default_str()
      ->check(CLI::Range(1, 64));
  command
      ->add_option("--background", arguments->background,
                   "Color behind transparent images: a name, #rrggbb or R,G,B")
      ->capture_default_str();
  command
      ->add_option("--max-pixels", arguments->most_pixels,
                   "Images that claim more pixels are refused unread")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  command->add_flag("--strict", arguments->strict,
                    "Write nothing, after listing all, when an image is bad");
  command->add_flag("--captions-only", arguments->captions_only,
                    "Refresh captions, weights and settings of the store; no image is looked at");
  command->add_flag("--replace", arguments->replace,
                    "Let the store lose images: all, if it was made with other settings, and those "
                    "that cannot be used any more");
  command->add_flag("--json", arguments->json, "Print the summary as JSON");
  command->footer(
      "Under mpirun the work is shared among the ranks. Interrupted work resumes where it "
      "stopped.\n"
      "Example: kessoku prepare photos --out store --model models/base --resolution 512\n"
      "         kessoku prepare training --out store --model models/base --dialect "
      "screenshot-pipeline --weights weighting.csv");
  command->callback([arguments] { run_prepare(*arguments); });
}

}  // namespace kessoku::launcher
