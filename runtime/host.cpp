#include "runtime/host.h"

#include <unistd.h>

namespace kessoku::runtime {

std::string host_name() {
  char name[256] = {};
  ::gethostname(name, sizeof name - 1);
  return name;
}

}  // namespace kessoku::runtime
