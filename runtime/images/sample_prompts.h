#pragma once

#include <filesystem>

#include "model/stable_diffusion/stable_diffusion.h"
#include "runtime/communication/communicator.h"
#include "runtime/config/config.h"

namespace kessoku::runtime {

/// Throws UsageError if the model cannot make the images that [sample] asks for: a size, solver or
/// number of steps. To be called before the first step.
void check_sample_prompts(const RunConfig& config, const model::StableDiffusion& model);

/// What is made at once for the sample prompts.
struct GenerationSize {
  int64_t width, height;  ///< pixels
  int64_t rows;           ///< images that go through the UNet together
};
GenerationSize sample_size(const RunConfig& config, const model::StableDiffusion& model);

/// Makes the run file's sample prompts with the model as it is now: samples/step-NNNNNNNN/00000.png
/// …, grid.png, prompts.txt. The ranks share the prompts. Collective.
void write_preview(const std::filesystem::path& run, uint64_t step, const RunConfig& config,
                   const model::StableDiffusion& model, Communicator& communicator);

}  // namespace kessoku::runtime
