// The two worlds a kernel is compiled in. Under nvcc Dev<T> and Shared<T> are plain pointers and Site is empty; under a
// host compiler (the host emulation, ../host) they are checked. Kernels use nothing of CUDA but what the headers in
// this folder offer, so that one source serves both.
#pragma once

#include <cstdint>

#ifdef __CUDACC__

#define LF_DEVICE __device__ __forceinline__

namespace lateforge::cuda {

// Global memory of the device, and the shared memory of a block.
template <class T>
using Dev = T*;
template <class T>
using Shared = T*;

// Where a collective was called; the host emulation compares the sites of the lanes that meet.
struct Site {
  LF_DEVICE static constexpr Site current() { return {}; }
};

// The same memory seen as elements of another type.
template <class U, class T>
LF_DEVICE U* recast(T* p) {
  return reinterpret_cast<U*>(p);
}

}  // namespace lateforge::cuda

#else

#define LF_DEVICE inline
#include "../host/emulation.h"
#include "../host/pointer.h"

#endif

namespace lateforge::cuda {

constexpr int kWarp = 32;

// n elements that travel in one transaction; n · sizeof(T) ≤ 16.
template <class T, int n>
struct alignas(sizeof(T) * n) Pack {
  T value[n];
  LF_DEVICE T& operator[](int i) { return value[i]; }
  LF_DEVICE const T& operator[](int i) const { return value[i]; }
};

// p must be aligned to the whole pack.
template <int n, class T>
LF_DEVICE Pack<T, n> loadPack(Dev<const T> p) {
  return *recast<const Pack<T, n>>(p);
}
template <int n, class T>
LF_DEVICE void storePack(Dev<T> p, const Pack<T, n>& v) {
  *recast<Pack<T, n>>(p) = v;
}

}  // namespace lateforge::cuda
