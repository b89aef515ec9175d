#pragma once

#include "model/networks/text_encoder.h"

namespace kessoku::model {

/// Captions as the UNet takes them. `input_ids` is (B, 77·n) int64 as Tokenizer makes them; each
/// chunk of 77 (the encoder's context) goes through the encoder by itself, and the states stand one
/// after the other: (B, 77·n, hidden_size). `clip_skip` as in TextEncoder::forward. Fewer than 77
/// ids are one chunk; another length that is no multiple of 77 is a DataError.
at::Tensor encode_text(const TextEncoder& encoder, const at::Tensor& input_ids,
                       int64_t clip_skip = 0);

}  // namespace kessoku::model
