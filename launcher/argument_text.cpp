#include "launcher/argument_text.h"

#include "base/log.h"
#include "base/text_file.h"

namespace kessoku::launcher {

std::string argument_text(const std::string& argument) {
  Text text = decode_text(argument);
  if (!text.warning.empty()) log_warning("\"{:.60}\": {}", text.text, text.warning);
  return std::move(text.text);
}

}  // namespace kessoku::launcher
