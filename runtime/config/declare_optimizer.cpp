#include "runtime/config/declare.h"

namespace kessoku::runtime {

namespace {

using Optimizer = RunConfig::Optimizer;

bool trains_text_encoder(const RunConfig& config) { return config.trains("text_encoder"); }
bool is_adamw(const RunConfig& config) { return config.optimizer.name == "adamw"; }
bool has_restarts(const RunConfig& config) {
  return config.optimizer.schedule == "cosine_with_restarts";
}
bool is_polynomial(const RunConfig& config) { return config.optimizer.schedule == "polynomial"; }

void declare_update(std::vector<Key>& keys) {
  const Section key(keys, "optimizer", &RunConfig::optimizer);
  key("name", &Optimizer::name, "how gradients change weights")
      .one_of({"adamw", "lion"})
      .page("training.md");
  key("lr", &Optimizer::lr, "peak learning rate").at_least(0).on_resume(OnResume::kRecorded);
  key("text_encoder_lr", &Optimizer::text_encoder_lr,
      "peak learning rate of the text encoder; -1 = as optimizer.lr")
      .shown_default("as optimizer.lr")
      .at_least(0)
      .or_else(-1)
      .on_resume(OnResume::kRecorded)
      .only_with(R"("text_encoder" in train.target)", trains_text_encoder);
  key("weight_decay", &Optimizer::weight_decay,
      "share of the weights that a step takes off them, times the learning rate")
      .at_least(0)
      .on_resume(OnResume::kRecorded);
  key("no_decay", &Optimizer::no_decay,
      "parameter names, with *, that weight decay leaves out, e.g. \"*.bias\"")
      .on_resume(OnResume::kRecorded);
  key("freeze", &Optimizer::freeze,
      "parameter names, with *, that are not trained, e.g. \"unet.down_blocks.*\"")
      .on_resume(OnResume::kFixed);
  key("lr_scale", &Optimizer::lr_scale,
      "factors on the learning rate by parameter name, with *; the last that matches counts")
      .at_least(0)
      .on_resume(OnResume::kRecorded);
  key("betas", &Optimizer::betas, "decay rates of the averages of gradients, and of their squares")
      .items({"first", "second"})
      .at_least(0)
      .below(1)
      .shown_default("[0.9, 0.999]; Lion: [0.9, 0.99]");
  key("eps", &Optimizer::eps, "lower bound of AdamW's denominators")
      .above(0)
      .only_with(R"(optimizer.name = "adamw")", is_adamw);
  key("grad_clip", &Optimizer::grad_clip, "limit of the gradients' global norm; 0 = off")
      .at_least(0)
      .on_resume(OnResume::kRecorded);
}

void declare_schedule(std::vector<Key>& keys) {
  const Section key(keys, "optimizer", &RunConfig::optimizer);
  key("schedule", &Optimizer::schedule,
      "learning rate after the warm-up: the polynomial schedule ends at end_lr, the others except "
      "the constant one at 0")
      .one_of({"constant", "linear", "cosine", "cosine_with_restarts", "polynomial"})
      .page("training.md")
      .on_resume(OnResume::kRecorded);
  key("warmup_steps", &Optimizer::warmup_steps,
      "length of the warm-up, in which the learning rate rises from 0 to lr")
      .from_to(0, 1e9)
      .unit("steps")
      .on_resume(OnResume::kRecorded);
  key("schedule_cycles", &Optimizer::schedule_cycles, "cosines from the warm-up to the last step")
      .from_to(1, 1e6)
      .on_resume(OnResume::kRecorded)
      .only_with(R"(optimizer.schedule = "cosine_with_restarts")", has_restarts);
  key("schedule_power", &Optimizer::schedule_power, "exponent of the polynomial schedule")
      .above(0)
      .on_resume(OnResume::kRecorded)
      .only_with(R"(optimizer.schedule = "polynomial")", is_polynomial);
  key("end_lr", &Optimizer::end_lr, "learning rate at which the polynomial schedule ends")
      .at_least(0)
      .on_resume(OnResume::kRecorded)
      .only_with(R"(optimizer.schedule = "polynomial")", is_polynomial);
  key("shard", &Optimizer::shard, "ZeRO-1: split the optimizer's state over ranks")
      .on_resume(OnResume::kFree);
}

}  // namespace

void declare_optimizer(std::vector<Key>& keys) {
  declare_update(keys);
  declare_schedule(keys);
  const Section ema(keys, "ema", &RunConfig::ema);
  ema("decay", &RunConfig::Ema::decay,
      "decay of the moving average of the weights, which is then what is sampled and saved for "
      "use; "
      "0 = off")
      .at_least(0)
      .below(1)
      .on_resume(OnResume::kRecorded);
}

void declare_communication(std::vector<Key>& keys) {
  using Communication = RunConfig::Communication;
  const Section key(keys, "communication", &RunConfig::communication);
  key("wire", &Communication::wire,
      "dtype in which gradients travel between ranks; bf16 halves the bytes, and rounds partial "
      "sums to bf16")
      .one_of({"fp32", "bf16"})
      .on_resume(OnResume::kRecorded);
  key("reduction", &Communication::reduction,
      "exact: gradients are summed along one tree, with the same bits on every number of ranks; "
      "fast: as NCCL sums")
      .one_of({"exact", "fast"})
      .on_resume(OnResume::kRecorded);
  key("bucket_mb", &Communication::bucket_mb, "size of the buckets in which gradients are sent")
      .above(0)
      .from_to(0, 65536)
      .unit("MiB")
      .on_resume(OnResume::kFree);
  key("overlap", &Communication::overlap,
      "send gradients while backward still runs, and weights while the next forward does")
      .on_resume(OnResume::kFree);
  key("timeout_seconds", &Communication::timeout_seconds,
      "an exchange that takes longer ends the run with exit code 76, naming the ranks that are "
      "behind; 0 = off")
      .from_to(0, 1e7)
      .unit("seconds")
      .on_resume(OnResume::kFree);
}

}  // namespace kessoku::runtime
