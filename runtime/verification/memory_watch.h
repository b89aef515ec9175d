#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "runtime/communication/communicator.h"
#include "runtime/verification/rank_comparison.h"
#include "runtime/verification/verifier.h"

namespace kessoku::runtime {

/// Finds bits that change in memory, or on the way from rank to rank, while nobody writes them: of
/// all that a rank holds from one step of the optimizer to the next.
class MemoryWatch {
 public:
  /// `spans`: the trained parameters in a flat layout of `blocks` blocks of digests, of which this
  /// rank steps `owned_blocks` (ascending).
  MemoryWatch(std::vector<NamedSpan> spans, int64_t blocks, std::vector<int64_t> owned_blocks,
              Communicator& communicator);

  /// To be called after each step of the optimizer: what is owned of `weights` (flat layout, whole)
  /// and `owned` (each all that is owned, one range after the other) must stay as it is; the other
  /// ranks' part of `weights` must become what they have. Keeps the tensors. Collective.
  void take(const at::Tensor& weights, std::vector<SharedTensor> owned);
  /// Weights and state were replaced.
  void forget();
  /// What has changed since, "moments in unet.conv_in.weight", or nothing. All weights must be
  /// there. Collective.
  std::string changed();

 private:
  at::Tensor owned_digests(const at::Tensor& weights) const;
  std::string describe(const SharedTensor& tensor, const at::Tensor& before, const at::Tensor& now,
                       bool whole) const;

  std::vector<NamedSpan> spans_;
  int64_t blocks_;
  std::vector<int64_t> owned_blocks_;
  Communicator& communicator_;
  SharedTensor weights_;
  at::Tensor weight_digests_;
  std::unique_ptr<Pending> exchange_;  ///< of weight_digests_
  std::vector<SharedTensor> owned_;
  std::vector<at::Tensor> digests_;  ///< of each of owned_
};

}  // namespace kessoku::runtime
