// Dynamic shared memory, the only kind there is: no static __shared__ arrays, so that one number in launch() says how
// much a block takes. Carved in order, each array 128-byte aligned.
#pragma once

#include "platform.cuh"

namespace lateforge::cuda {

// The bytes that n elements take; a launch passes the sum.
template <class T>
constexpr int64_t sharedSize(int64_t n) {
  return (n * static_cast<int64_t>(sizeof(T)) + 127) / 128 * 128;
}

#ifdef __CUDACC__
extern __shared__ __align__(128) unsigned char dynamicSharedMemory[];
#endif

class SharedMemory {
 public:
  // The next n elements, uninitialised.
  template <class T>
  LF_DEVICE Shared<T> take(int64_t n) {
    const int64_t at = used_;
    used_ += sharedSize<T>(n);
#ifdef __CUDACC__
    return reinterpret_cast<T*>(dynamicSharedMemory + at);
#else
    if (used_ > host::sharedBytes())
      host::fail("the kernel takes %lld bytes of shared memory, the launch gave %lld", static_cast<long long>(used_),
                 static_cast<long long>(host::sharedBytes()));
    return Shared<T>(host::sharedBase() + static_cast<uintptr_t>(at), n * static_cast<int64_t>(sizeof(T)));
#endif
  }

 private:
  int64_t used_ = 0;
};

}  // namespace lateforge::cuda
