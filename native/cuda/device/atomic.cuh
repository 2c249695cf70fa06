// Atomics on integers only: floats added in whatever order would not give the same bits twice.
#pragma once

#include "platform.cuh"

namespace lateforge::cuda {

LF_DEVICE void atomicMinimum(Dev<uint64_t> target, uint64_t value) {
#ifdef __CUDACC__
  atomicMin(reinterpret_cast<unsigned long long*>(target), static_cast<unsigned long long>(value));
#else
  *target = *target < value ? *target : value;
#endif
}

}  // namespace lateforge::cuda
