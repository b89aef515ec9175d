// Stands in for libcuda.so.1: says what the environment variables KESSOKU_FAKE_DRIVER_VERSION
// (13000 is CUDA 13.0), KESSOKU_FAKE_DRIVER_GPUS and KESSOKU_FAKE_DRIVER_ERROR (of cuInit) tell.
#include <cstdlib>

namespace {

int variable(const char* name, int otherwise) {
  const char* value = std::getenv(name);
  return value == nullptr ? otherwise : std::atoi(value);
}

}  // namespace

extern "C" {

int cuInit(unsigned) { return variable("KESSOKU_FAKE_DRIVER_ERROR", 0); }

int cuDriverGetVersion(int* version) {
  *version = variable("KESSOKU_FAKE_DRIVER_VERSION", 13000);
  return 0;
}

int cuDeviceGetCount(int* count) {
  *count = variable("KESSOKU_FAKE_DRIVER_GPUS", 1);
  return 0;
}
}
