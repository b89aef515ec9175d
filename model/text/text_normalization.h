#pragma once

#include <string>
#include <vector>

namespace kessoku::model {

/// Which tokenizer's view of text: what is done to a caption before its words are encoded.
enum class FrontEnd {
  kHfFast,  ///< "hf-fast": Hugging Face's fast tokenizer, which all its maintained stacks use
  kOpenAi,  ///< "openai": OpenAI's simple_tokenizer, on which Hugging Face's older one is modeled
};

const std::vector<std::string>& front_end_names();
std::string to_string(FrontEnd front_end);
/// "hf" is "hf-fast", too. Throws UsageError, naming the choices, on another name.
FrontEnd parse_front_end(const std::string& name);

}  // namespace kessoku::model
