#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "model/networks/parameter.h"
#include "runtime/communication/communicator.h"
#include "runtime/verification/rank_comparison.h"

namespace kessoku::runtime {

/// What every rank must hold alike.
struct SharedTensor {
  std::string what;   ///< "weights", …
  at::Tensor values;  ///< (numel) in the flat layout
};
struct SharedNumber {
  std::string what;  ///< "learning rate", …
  int64_t bits;
};

/// What is computed twice.
enum class Recomputed { kGradients, kUpdate };

/// Finds ranks that hold or compute wrong bits. Every so many steps the ranks compare digests of
/// what they all hold, and each computes again what its neighbor did. A difference throws WrongBits
/// on all ranks.
class Verifier {
 public:
  /// Every `every_steps` steps; 0 = never. `spans`: the trained parameters in the flat layout.
  /// `neighbors_agree`: whether the ranks round alike, so that one may compute what another did;
  /// else each computes its own again.
  Verifier(uint64_t every_steps, std::vector<NamedSpan> spans, bool neighbors_agree,
           Communicator& communicator);

  bool on() const { return every_steps_ > 0; }
  /// Whether step `step` (1, 2, …) is verified.
  bool is_due(uint64_t step) const { return on() && step % every_steps_ == 0; }
  /// `parameters` must stay as they are from now on.
  void watch_untrained(model::Parameters parameters);

  /// Whose computation this rank repeats.
  int checked_rank() const;
  /// The digests of the blocks of what this rank computed in the step.
  void note_computed(Recomputed what, const at::Tensor& digests);
  /// Of what checked_rank() should have, computed by this one.
  void note_recomputed(Recomputed what, const at::Tensor& digests);

  /// False where kernels of a GPU have turned out to give other bits each time: gradients are not
  /// compared then.
  bool gradients_repeat() const { return gradients_repeat_; }
  /// Compares what is noted and what is given. Throws WrongBits. Collective.
  void compare(uint64_t step, const std::vector<SharedTensor>& tensors,
               const std::vector<SharedNumber>& numbers);
  /// Throws WrongBits with the `problem` that a rank has, of those whose is not empty. Collective.
  [[noreturn]] void fail(uint64_t step, const std::string& problem);

 private:
  struct Untrained {
    model::Parameter parameter;
    uint64_t digest;
  };

  int64_t first_changed() const;
  bool take_as_random(const std::vector<FailedCheck>& failed);
  void require_unchanged(uint64_t step, const at::Tensor& gathered);
  void require_same_again(uint64_t step, const at::Tensor& gathered, Recomputed what);
  void require_same(uint64_t step, const SharedTensor& tensor, const at::Tensor& blocks,
                    const at::Tensor& gathered);
  [[noreturn]] void raise(uint64_t step, const std::string& what, const std::vector<int>& ranks);

  uint64_t every_steps_;
  std::vector<NamedSpan> spans_;
  bool neighbors_agree_;
  Communicator& communicator_;
  std::vector<Untrained> untrained_;
  /// Digests of blocks, by Recomputed; undefined if there are none.
  std::array<at::Tensor, 2> computed_, recomputed_;
  bool on_cpu_ = true;  ///< what was computed
  bool gradients_repeat_ = true;
  bool repeated_ = false;  ///< whether gradients have once been the same
};

}  // namespace kessoku::runtime
