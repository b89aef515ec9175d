#include "runtime/planning/step_budget.h"

#include <ATen/ops/sum.h>
#include <ATen/record_function.h>

#include <algorithm>
#include <array>
#include <map>
#include <utility>

#include "model/networks/flop_counter.h"
#include "runtime/planning/meta_networks.h"
#include "runtime/training/gradient_reducer.h"
#include "runtime/training/trainer.h"

namespace kessoku::runtime {

namespace {

// NVIDIA's data sheets: GA102 and AD102 whitepapers, A100 SXM 80 GB, H100 SXM, H200 SXM.
constexpr std::array<GpuPeaks, 5> kGpus{{{"rtx3090", 35.6e12, 35.6e12, 71.2e12, 936e9},
                                         {"rtx4090", 82.6e12, 82.6e12, 165.2e12, 1008e9},
                                         {"a100", 19.5e12, 156e12, 312e12, 2039e9},
                                         {"h100", 66.9e12, 494.7e12, 989.4e12, 3350e9},
                                         {"h200", 66.9e12, 494.7e12, 989.4e12, 4800e9}}};

/// The tensors among values and lists of them.
std::vector<at::Tensor> tensors_of(c10::ArrayRef<const c10::IValue> values) {
  std::vector<at::Tensor> tensors;
  const auto add = [&](const at::Tensor& tensor) {
    if (tensor.defined()) tensors.push_back(tensor);
  };
  for (const c10::IValue& value : values) {
    if (value.isTensor()) add(value.toTensor());
    if (!value.isTensorList()) continue;
    for (const at::Tensor& tensor : value.toTensorVector()) add(tensor);
  }
  return tensors;
}

double bytes_of(const std::vector<at::Tensor>& tensors) {
  double bytes = 0;
  for (const at::Tensor& tensor : tensors) bytes += static_cast<double>(tensor.nbytes());
  return bytes;
}

const char* kind_of(std::string_view name) {
  const auto has = [&](std::string_view part) { return name.find(part) != name.npos; };
  if (has("convolution")) return "convolutions";
  if (has("scaled_dot_product")) return "attention";
  if (has("mm")) return "matrix products";
  if (has("norm")) return "norms";
  if (has("copy") || has("cat") || has("clone")) return "copies";
  return "element by element";
}

/// While it lives it adds up the operators of this thread, and of autograd's for it, that carry out
/// work of their own. Not to be nested.
class OperatorTally {
 public:
  OperatorTally(const GpuPeaks& gpu, bool tf32)
      : gpu_(gpu),
        wide_(tf32 ? gpu.tf32 : gpu.fp32),
        callback_(at::addThreadLocalCallback(at::RecordFunctionCallback(begin, end)
                                                 .needsInputs(true)
                                                 .needsOutputs(true)
                                                 .scopes({at::RecordScope::FUNCTION}))) {
    active_ = this;
  }
  OperatorTally(const OperatorTally&) = delete;
  OperatorTally& operator=(const OperatorTally&) = delete;
  ~OperatorTally() {
    at::removeCallback(callback_);
    active_ = nullptr;
  }

  /// Seconds since the last call.
  double lap() { return std::exchange(seconds_, 0); }
  const std::map<std::string, BudgetLine>& lines() const { return lines_; }

 private:
  /// An operator under way, which may call others.
  struct Call {
    std::vector<at::Tensor> inputs;
    double flops = 0;
    bool has_worked = false;  ///< by one of them
  };
  struct Begun : at::ObserverContext {};

  static std::unique_ptr<at::ObserverContext> begin(const at::RecordFunction& function) {
    const auto own = model::operator_flops(function.name(), function.inputs());
    std::vector<Call>& calls = active_->calls_;
    // What an operator leaves to another, the other does.
    const double handed_down = calls.empty() ? 0 : std::exchange(calls.back().flops, 0);
    calls.push_back(
        {tensors_of(function.inputs()), own ? static_cast<double>(*own) : handed_down, false});
    return std::make_unique<Begun>();
  }
  static void end(const at::RecordFunction& function, at::ObserverContext*) {
    active_->finish(function.name(), tensors_of(c10::ArrayRef<const c10::IValue>(
                                         function.outputs().data(), function.outputs().size())));
  }

  /// Whether an operator that calls none which works carries out anything.
  static bool works(std::string_view name, const Call& call,
                    const std::vector<at::Tensor>& outputs) {
    if (name.find("empty") != name.npos || name == "aten::resize_" || name == "aten::detach_")
      return false;
    if (call.flops > 0 || name.ends_with("_")) return true;
    return std::ranges::none_of(outputs, [&](const at::Tensor& output) {  // else it is a view
      return std::ranges::any_of(
          call.inputs, [&](const at::Tensor& input) { return input.is_alias_of(output); });
    });
  }

  void finish(std::string_view name, const std::vector<at::Tensor>& outputs) {
    const Call call = std::move(calls_.back());
    calls_.pop_back();
    const bool worked = call.has_worked || works(name, call, outputs);
    if (!calls_.empty()) {
      calls_.back().has_worked |= worked;
      if (!worked) calls_.back().flops += call.flops;
    }
    if (!worked || call.has_worked) return;
    const bool wide = call.inputs.empty() || call.inputs.front().element_size() > 2;
    const double bytes = bytes_of(call.inputs) + bytes_of(outputs);
    const double seconds =
        std::max(call.flops / (wide ? wide_ : gpu_.bf16), bytes / gpu_.bandwidth);
    BudgetLine& line = lines_[kind_of(name)];
    line.kind = kind_of(name);
    ++line.calls;
    line.flops += call.flops;
    line.bytes += bytes;
    line.seconds += seconds;
    seconds_ += seconds;
  }

  static OperatorTally* active_;
  const GpuPeaks& gpu_;
  double wide_;  ///< operations a second with f32 factors
  std::vector<Call> calls_;
  std::map<std::string, BudgetLine> lines_;
  double seconds_ = 0;
  at::CallbackHandle callback_;
};

OperatorTally* OperatorTally::active_ = nullptr;

/// What the trainer reads and writes, in bytes an element that this rank steps.
struct UpdateBytes {
  double norm, update;
};

UpdateBytes update_bytes(const RunConfig& config) {
  const double weight = dtype_of(config) == at::kFloat ? 0 : 2;
  const double moments = config.optimizer.name == "lion" ? 1 : 2;
  UpdateBytes bytes{.norm = 13, .update = 4 + 8 + 8 * moments};  // gradient, weight, moments
  if (config.optimizer.grad_clip > 0) bytes.update += 8;
  if (weight > 0) bytes.update += 4 + weight;  // of the f32 copy, rounded
  if (config.ema.decay > 0) bytes.update += 12;
  return bytes;
}

}  // namespace

std::span<const GpuPeaks> known_gpus() { return kGpus; }

const GpuPeaks* find_gpu(const std::string& name) {
  const auto found = std::ranges::find(kGpus, name, &GpuPeaks::name);
  return found == kGpus.end() ? nullptr : &*found;
}

StepBudget budget_step(const RunConfig& config, const model::StableDiffusion& model,
                       const std::vector<data::Bucket>& buckets, const GpuPeaks& gpu) {
  MetaNetworks networks(config, model);
  const std::unique_ptr<Communicator> alone = make_solo_communicator();
  const int64_t numel = flat_numel(flat_layout(networks.trained()));
  const Partition partition(numel, bucket_numel(config), 1);
  FlatParameters flat(networks.trained(), partition.numel(), gradient_storage_of(config, 1));
  GradientReducer reducer(flat, partition, {}, 1, *alone);
  flat.round_to(dtype_of(config));
  const uint64_t micro = split_batch(config.train.global_batch, config.train.micro_batch, 1).micro;

  StepBudget budget;
  budget.costs.micro_batch = micro;
  {
    OperatorTally tally(gpu, config.train.precision == "tf32");
    const at::Tensor losses =
        networks.objective().losses(networks.batch(largest_of(buckets), micro));
    budget.costs.costs.forward = tally.lap();
    reducer.prepare(0);
    losses.sum().backward();
    budget.costs.costs.backward = tally.lap();
    for (const auto& [kind, line] : tally.lines()) budget.lines.push_back(line);
  }
  const UpdateBytes bytes = update_bytes(config);
  const auto trained = static_cast<double>(numel);
  budget.costs.costs.norm = trained * bytes.norm / gpu.bandwidth;
  budget.costs.costs.update = trained * bytes.update / gpu.bandwidth;
  budget.lines.push_back({.kind = "norm and optimizer",
                          .calls = 0,
                          .flops = 0,
                          .bytes = trained * (bytes.norm + bytes.update),
                          .seconds = budget.costs.costs.norm + budget.costs.costs.update});
  std::ranges::sort(budget.lines, std::ranges::greater{}, &BudgetLine::seconds);
  return budget;
}

}  // namespace kessoku::runtime
