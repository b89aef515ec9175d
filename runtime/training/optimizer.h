#pragma once

#include "runtime/config/config.h"
#include "runtime/training/flat_parameters.h"
#include "runtime/training/parameter_settings.h"
#include "runtime/training/partition.h"
#include "runtime/training/update_rule.h"

namespace kessoku::runtime {

/// Steps the ranges of the flat buffers that this rank owns: all of them, or its parts (ZeRO-1).
/// Its own tensors hold those ranges one after the other.
class Optimizer {
 public:
  /// `keep_copy`: the f32 values that the parameters have now are stepped in a copy; they may be
  /// rounded then.
  Optimizer(FlatParameters& flat, const RunConfig::Optimizer& config, std::vector<Range> owned,
            bool keep_copy = false);

  /// Before the ranges of a step.
  void begin_step() { ++steps_taken_; }
  /// One step of range `index` with the gradients as they are; `factor` scales the learning rates.
  void step(size_t index, double factor);

  /// The same of tensors that hold `range` of the flat buffer alone, with moments in the rule's
  /// order: what the rank that owns it does in this step.
  void repeat_step(const Range& range, const at::Tensor& weights, const at::Tensor& gradients,
                   const std::vector<at::Tensor>& moments, double factor) const;

  uint64_t steps_taken() const { return steps_taken_; }
  const std::vector<Range>& owned() const { return owned_; }
  /// Where range `index` stands in own tensors.
  Range own_range(size_t index) const;
  /// The f32 weights of range `index`.
  at::Tensor weights(size_t index) const;
  /// The f32 values that are stepped, of all that is owned; undefined where those of the parameters
  /// are.
  const at::Tensor& kept_copy() const { return master_; }
  /// A copy of the weights, f32, of all that is owned.
  at::Tensor own_weights() const;
  /// The update rule's moments of all that is owned, at least one.
  const model::Parameters& moments() const { return moments_; }
  /// Weights and moments have become those of `steps_taken` steps.
  void resume_after(uint64_t steps_taken) { steps_taken_ = steps_taken; }

 private:
  /// A contiguous run of one range with equal settings.
  struct Segment {
    Range range;  ///< of the flat buffer
    ParameterSettings settings;
  };
  std::vector<Segment> segments_of(const Range& range) const;
  void apply(const std::vector<Segment>& segments, const Range& range, const at::Tensor& weights,
             const at::Tensor& gradients, const std::vector<at::Tensor>& moments,
             double factor) const;
  at::Tensor values_of(const Range& range) const;

  FlatParameters& flat_;
  RunConfig::Optimizer config_;
  std::unique_ptr<UpdateRule> rule_;
  std::vector<Range> owned_;
  std::vector<int64_t> own_offsets_;
  std::vector<std::vector<Segment>> segments_;  ///< of each range
  uint64_t steps_taken_ = 0;
  at::Tensor master_;  ///< the f32 copy; undefined without
  model::Parameters moments_;
};

}  // namespace kessoku::runtime
