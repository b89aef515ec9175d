#pragma once

#include "model/stable_diffusion/stable_diffusion.h"
#include "runtime/communication/communicator.h"
#include "runtime/run/run_folder.h"
#include "runtime/run/training_data.h"
#include "runtime/training/trainer.h"

namespace kessoku::runtime {

/// Prints what will happen to stderr: the resolved configuration, sizes, how the batch is split,
/// the step that the run resumes at, and warnings (captions that are truncated among them).
void print_run_summary(const RunConfig& config, const RunFolder& folder, const TrainingData& data,
                       const model::Tokenizer& tokenizer, Trainer& trainer,
                       const Communicator& communicator);

}  // namespace kessoku::runtime
