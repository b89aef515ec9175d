#include "tests/stand_ins/health.h"

#include <c10/util/Exception.h>

#include <mutex>
#include <optional>

namespace kessoku::stand_ins {

namespace {

struct Fault {
  int code;
  std::string words;
};
std::mutex mutex;
std::optional<Fault> fault;

}  // namespace

bool is_broken() {
  const std::lock_guard lock(mutex);
  return fault.has_value();
}

void break_gpu(int code, const std::string& words) {
  const std::lock_guard lock(mutex);
  if (!fault) fault = {code, words};
}

void require_health() {
  const std::lock_guard lock(mutex);
  if (fault)
    throw c10::AcceleratorError({__func__, __FILE__, __LINE__}, fault->code,
                                "CUDA error: " + fault->words);
}

}  // namespace kessoku::stand_ins
