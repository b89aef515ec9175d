#pragma once

#include "launcher/options/model_options.h"
#include "model/stable_diffusion/model_files.h"
#include "runtime/config/config.h"

namespace kessoku::launcher {

/// The model of a run file.
ModelOptions model_options(const runtime::RunConfig& config);

/// The model that `options` mean; of a run folder its newest checkpoint. Models that bring no
/// tokenizer get CLIP's, where there is one. Throws UsageError if there is no such model.
model::ModelSource resolve_model(const ModelOptions& options);

/// The tokenizer's folder of such a model, without looking at its weights, which need not be there;
/// empty if there is none.
std::filesystem::path find_tokenizer(const ModelOptions& options);

/// The diffusers folder that `path` means: itself, or, if it is a run folder, its newest
/// checkpoint. Throws UsageError if it is neither.
std::filesystem::path resolve_model_folder(const std::filesystem::path& path);

/// CLIP's tokenizer as scripts/setup.sh makes it: models/clip-tokenizer here, beside the program's
/// build folder, or in share/kessoku of an installed tree; empty if there is none.
std::filesystem::path default_tokenizer();

}  // namespace kessoku::launcher
