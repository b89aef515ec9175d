// What a data sheet leaves room for, beside rates that others have published.
#include "runtime/planning/step_budget.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <limits>

#include "base/file.h"
#include "model/stable_diffusion/presets.h"
#include "tests/paths.h"

namespace kessoku::runtime {
namespace {

/// A GPU's training of the UNet of Stable Diffusion 2 at 512 px, in half precision.
struct Published {
  const char* gpu;
  uint64_t draws, micro_batch;  ///< a step
  double rate;                  ///< images a second; 0: nobody has published any
  bool encodes = false;         ///< the VAE and the text encoder run in each step
};
// docs/scaling.md names the sources.
constexpr Published kPublished[] = {{"a100", 256, 4, 16.0, true},
                                    {"a100", 256, 16, 36.3},
                                    {"h100", 16, 16, 110},
                                    {"h200", 64, 64, 129},
                                    {"rtx3090", 4, 4, 0}};

const model::StableDiffusion& sd15() {
  static const model::StableDiffusion model = [] {
    const model::Preset shapes = model::find_preset("sd15");
    return model::StableDiffusion{
        model::UNet(shapes.unet, at::kMeta), model::TextEncoder(shapes.text_encoder, at::kMeta),
        model::Vae(shapes.vae, at::kMeta),
        model::Tokenizer::load(std::filesystem::path(tests::source_folder()) /
                               "models/clip-tokenizer"),
        shapes.schedule};
  }();
  return model;
}

/// The most images a second that the data sheet leaves room for.
double bound_of(const Published& row) {
  RunConfig config;
  config.train.target = {"unet"};
  config.train.precision = "bf16";
  config.train.global_batch = row.draws;
  config.train.micro_batch = row.micro_batch;
  const StepCosts costs = budget_step(config, sd15(), {{512, 512}}, *find_gpu(row.gpu)).costs.costs;
  const auto draws = static_cast<double>(row.draws);
  const double times = draws / static_cast<double>(row.micro_batch);
  return draws / (times * (costs.forward + costs.backward) + costs.norm + costs.update);
}

TEST(StepBudget, TheTableInTheDocsIsComputed) {
  double least = std::numeric_limits<double>::infinity(), most = 0, encoding = 0;
  std::vector<std::string> lines;
  for (const Published& row : kPublished) {
    const double bound = bound_of(row), share = row.rate / bound;
    const std::string begin =
        fmt::format("| `{}` | {} ({}) | {:.0f} |", row.gpu, row.draws, row.micro_batch, bound);
    if (row.rate == 0) {
      lines.push_back(begin + " none | |");
      lines.push_back(fmt::format("{:.0f} to {:.0f} images a second on an RTX 3090", least * bound,
                                  most * bound));
      lines.push_back(fmt::format("script: {:.0f} images a second)", encoding * bound));
      continue;
    }
    lines.push_back(fmt::format("{} {}{} | {:.0f} % |", begin, row.rate,
                                row.encodes ? ", VAE and text encoder in each step" : "",
                                100 * share));
    EXPECT_LT(share, 1) << "nobody passes a bound: " << row.gpu;
    if (row.encodes) {
      encoding = share;
    } else {
      least = std::min(least, share);
      most = std::max(most, share);
    }
  }
  std::string page = read_file(std::filesystem::path(tests::source_folder()) / "docs/scaling.md");
  std::ranges::replace(page, '\n', ' ');
  for (const std::string& line : lines) {
    fmt::print("{}\n", line);
    EXPECT_NE(page.find(line), std::string::npos) << "docs/scaling.md lacks\n" << line;
  }
}

}  // namespace
}  // namespace kessoku::runtime
