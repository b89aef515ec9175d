#include "runtime/run/run_summary.h"

#include "base/log.h"
#include "base/process/stderr_line.h"
#include "runtime/config/config_writer.h"
#include "runtime/run/caption_lengths.h"
#include "runtime/training/reproducibility.h"

namespace kessoku::runtime {

namespace {

/// Captions whose length is looked at: a million would take seconds.
constexpr size_t kLookedAt = 50'000;

}  // namespace

void print_run_summary(const RunConfig& config, const RunFolder& folder, const TrainingData& data,
                       const model::Tokenizer& tokenizer, Trainer& trainer,
                       const Communicator& communicator) {
  const BatchSplit split =
      split_batch(config.train.global_batch, config.train.micro_batch, communicator.size());
  std::string text = changed_keys(config) + "(all other keys have their defaults)\n\n";
  text += fmt::format("run          {}\n", folder.path.string());
  text += fmt::format("store        {}: {} examples in {} buckets; a pass is {} draws\n",
                      config.data.store, data.store.size(), data.store.manifest().buckets.size(),
                      data.sampler.pass_draws());
  text += fmt::format("trained      {} parameters of {}\n", trainer.flat().used(),
                      fmt::join(config.train.target, ", "));
  text +=
      fmt::format("global batch {} = {} ranks x {} draws x {} accumulated, in {} on {}\n",
                  config.train.global_batch, communicator.size(), split.micro, split.accumulation,
                  config.train.precision, trainer.flat().values().device().str());
  text += fmt::format("bits         {}\n", describe_reproducibility(config, communicator.size()));
  if (folder.resume_from) {
    text += fmt::format(
        "resuming     at step {} from {}{}\n", trainer.steps_done(), folder.resume_from->string(),
        trainer.steps_done() >= config.train.steps ? ": training is already complete" : "");
  }
  text.pop_back();
  write_line(text);
  for (const std::string& warning : data.warnings(config)) write_warning(warning);
  if (!config.trains("vae")) {
    const std::string cut =
        warning_of(measure_captions(data.store, tokenizer, config, kLookedAt), config);
    if (!cut.empty()) write_warning(cut);
  }
}

}  // namespace kessoku::runtime
