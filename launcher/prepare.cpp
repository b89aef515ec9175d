#include "data/prepare/prepare.h"

#include <ATen/Parallel.h>
#include <c10/core/DeviceGuard.h>
#include <c10/core/GradMode.h>

#include <chrono>
#include <mutex>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/json.h"
#include "base/log.h"
#include "base/process/stderr_line.h"
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

std::vector<data::Kind> parse_keep(std::string_view list) {
  std::vector<data::Kind> kinds;
  while (true) {
    const size_t comma = std::min(list.find(','), list.size());
    std::string_view name = list.substr(0, comma);
    while (name.starts_with(' ')) name.remove_prefix(1);
    while (name.ends_with(' ')) name.remove_suffix(1);
    kinds.push_back(data::parse_kind(std::string(name)));
    if (comma == list.size()) return kinds;
    list.remove_prefix(comma + 1);
  }
}

bool needs_vae(const std::vector<data::Kind>& keep) {
  return std::ranges::any_of(keep, [](data::Kind kind) { return kind != data::Kind::kImages; });
}

/// VAEs serve well beyond the size that they were made for, but not everywhere.
void warn_of_other_size(const model::Vae& vae, int64_t resolution) {
  constexpr int64_t kFar = 4;
  const int64_t side = std::max(vae.config().sample_size[0], vae.config().sample_size[1]);
  if (resolution >= kFar * side)
    log_warning("the model is made for images of about {} pixels a side, and --resolution is {}",
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
    const std::lock_guard lock(*one);      // more at once would take its memory, not its time
    const c10::DeviceGuard guard(device);  // a thread begins on the first GPU
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
  const nlohmann::json document{{"examples", summary.examples},   {"encoded", summary.encoded},
                                {"reused", summary.reused},       {"refreshed", summary.refreshed},
                                {"unchanged", summary.unchanged}, {"skipped", skipped},
                                {"warnings", summary.warnings},   {"seconds", seconds}};
  fmt::print("{}\n", to_text(document, 1));
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
      if (options.rank == 0) write_line(fmt::format("  {}: {}", entry.source, entry.reason));
    }
    throw;
  }
}

}  // namespace

void run(const PrepareArguments& arguments) {
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
      if (first) log_warning("{}", warning);
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

}  // namespace kessoku::launcher
