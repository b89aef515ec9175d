#pragma once

#include "model/networks/parameter.h"
#include "runtime/training/partition.h"

namespace kessoku::runtime {

/// Where a parameter stands in the flat buffers.
struct FlatRange {
  std::string name;
  /// In elements; a multiple of kAlignment, 64 bytes in f32.
  int64_t offset;
  int64_t numel;
  static constexpr int64_t kAlignment = 16;
};

/// The places of `parameters` one after the other, each at an aligned offset. A function of their
/// shapes alone: it does not depend on ranks, buckets or precision.
std::vector<FlatRange> flat_layout(const model::Parameters& parameters);

/// Elements up to the end of the last parameter.
int64_t flat_numel(const std::vector<FlatRange>& layout);

/// Where gradients are between backward and the optimizer.
enum class GradientStorage {
  kBuffer,  ///< in a flat buffer, f32, to which backward adds
  kTensors  ///< where backward leaves them, for values of less than f32 and a single backward a
            ///< step: no memory until then, and half of it
};

/// All trained parameters in one flat buffer, and their gradients in another, f32; the networks'
/// tensors become views. So gradients are summed over ranks, clipped, stepped and averaged by
/// single calls.
class FlatParameters {
 public:
  /// Moves `parameters` (f32, on one device) into a buffer of `padded_numel` ≥ flat_numel elements
  /// and makes them require gradients.
  FlatParameters(const model::Parameters& parameters, int64_t padded_numel,
                 GradientStorage storage = GradientStorage::kBuffer);

  /// Rounds the values to `dtype`, in which the networks then compute. Gradients of less than f32
  /// come one tensor at a time: `collect_gradient` adds them to the buffer.
  void round_to(at::ScalarType dtype);
  const at::Tensor& values() const { return values_; }  ///< (padded numel)
  /// The buffer: (padded numel) f32; undefined without.
  const at::Tensor& gradients() const { return gradients_; }
  /// The gradients of `range`, f32: of the buffer, or a copy, in which gradients are what
  /// `collect_gradient` would have made of them.
  at::Tensor gradients_in(const Range& range) const;
  /// Multiplies the gradients of `ranges`; of all, without a buffer.
  void scale_gradients(const std::vector<Range>& ranges, double factor);
  /// Before backward.
  void clear_gradients();
  /// When gradients were used: frees those that have no buffer.
  void release_gradients();
  const model::Parameters& parameters() const { return parameters_; }
  const std::vector<FlatRange>& ranges() const { return ranges_; }
  int64_t used() const { return flat_numel(ranges_); }
  /// Adds the gradient that backward left at parameter `index` to the buffer and frees it; nothing
  /// is to be done for f32, or without a buffer.
  void collect_gradient(size_t index);
  /// Views into any flat buffer of this layout, under the parameters' names and shapes.
  model::Parameters views_of(const at::Tensor& flat) const;

 private:
  model::Parameters parameters_;
  std::vector<FlatRange> ranges_;
  at::Tensor values_, gradients_;
  model::Parameters gradient_views_;  ///< into the buffer
  double gradient_factor_ = 1;        ///< of gradients without a buffer
};

}  // namespace kessoku::runtime
