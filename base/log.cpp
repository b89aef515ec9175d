#include "base/log.h"

#include "base/process/stderr_line.h"

namespace kessoku {

void write_warning(const std::string& text) { write_labeled("warning", "33", text); }
void write_info(const std::string& text) { write_labeled("info", "32", text); }

}  // namespace kessoku
