#pragma once

#include "model/parameter.h"

namespace kessoku::runtime {

/// Where a parameter stands in the flat buffers.
struct FlatRange {
  std::string name;
  int64_t offset;  ///< in elements; a multiple of 16 (64 bytes)
  int64_t numel;
};

/// All trained parameters in one flat f32 buffer, and their gradients in another; the networks'
/// tensors become views. So gradients are summed over ranks, clipped, stepped and averaged by
/// single calls. The layout does not depend on the number of ranks; only the padding at the end
/// does, so that the buffer divides into `parts` equal parts.
class FlatParameters {
 public:
  /// Moves `parameters` (f32, on one device) into the buffers and makes them require gradients.
  FlatParameters(const model::Parameters& parameters, int parts);

  const at::Tensor& values() const { return values_; }  ///< (padded numel)
  const at::Tensor& gradients() const { return gradients_; }
  const std::vector<FlatRange>& ranges() const { return ranges_; }
  /// Elements up to the end of the last parameter, without the padding for `parts`.
  int64_t used() const { return used_; }
  int64_t part_numel() const { return values_.numel() / parts_; }
  /// Views of part `index`.
  at::Tensor values_part(int index) const;
  at::Tensor gradients_part(int index) const;
  /// Views into any flat buffer of this layout, under the parameters' names and shapes.
  model::Parameters views_of(const at::Tensor& flat) const;

 private:
  int parts_;
  int64_t used_ = 0;
  model::Parameters parameters_;
  std::vector<FlatRange> ranges_;
  at::Tensor values_, gradients_;
};

}  // namespace kessoku::runtime
