#pragma once

#include <cstdint>

namespace kessoku::model {

/// Characters that came after Unicode 15.0 and that a system's ICU may not know: what the
/// tokenizers of others make of them, whatever the ICU. Zero changes for older ones.

/// In Unicode 16, which Hugging Face's tokenizer splits by.
bool is_newer_letter(uint32_t c);
bool is_newer_number(uint32_t c);
/// After Unicode 16: what Python's `regex` knows beyond.
bool is_newest_letter(uint32_t c);
bool is_newest_number(uint32_t c);
/// The lower case in Unicode 17, which Hugging Face's tokenizer uses.
uint32_t newer_lower_case(uint32_t c);

}  // namespace kessoku::model
