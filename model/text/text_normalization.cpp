#include "model/text/text_normalization.h"

#include <fmt/ranges.h>

#include "base/error.h"

namespace kessoku::model {

const std::vector<std::string>& front_end_names() {
  static const std::vector<std::string> names{"hf-fast", "openai"};
  return names;
}

std::string to_string(FrontEnd front_end) {
  return front_end_names()[static_cast<size_t>(front_end)];
}

FrontEnd parse_front_end(const std::string& name) {
  if (name == "hf") return FrontEnd::kHfFast;
  for (const FrontEnd front_end : {FrontEnd::kHfFast, FrontEnd::kOpenAi}) {
    if (to_string(front_end) == name) return front_end;
  }
  throw UsageError(fmt::format("there is no tokenizer front-end \"{}\"; choose one of {}", name,
                               fmt::join(front_end_names(), ", ")));
}

}  // namespace kessoku::model
