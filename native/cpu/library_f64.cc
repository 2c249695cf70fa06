// The float64 backend as a shared library of its own: the op suite runs on it through the same boundary as CUDA.
#include "backend.h"

extern "C" __attribute__((visibility("default"))) const lateforge::Backend* lateforge_backend(uint32_t abi) {
  return abi == lateforge::kBackendAbi ? lateforge::cpu::doubleBackend() : nullptr;
}
