#include "model/networks/text_conditioning.h"

#include "base/error.h"

namespace kessoku::model {

at::Tensor encode_text(const TextEncoder& encoder, const at::Tensor& input_ids, int64_t clip_skip) {
  const int64_t batch = input_ids.size(0);
  const int64_t length = input_ids.size(1);
  const int64_t context = encoder.config().max_position_embeddings;
  if (length <= context) return encoder.forward(input_ids, clip_skip);
  if (length % context != 0) {
    throw DataError(fmt::format("input_ids are {} a caption; the text encoder takes chunks of {}",
                                length, context));
  }
  const at::Tensor states = encoder.forward(input_ids.reshape({-1, context}), clip_skip);
  return states.reshape({batch, length, -1});
}

}  // namespace kessoku::model
