// The only place that launches. A kernel is a trivially copyable struct, its params, with
//   static constexpr int kThreads, kMinBlocks;  // lanes of a block, blocks wanted on a multiprocessor
//   LF_DEVICE void operator()() const;
// The limits hold in both worlds: what the host emulation refuses, a GPU would refuse, and the other way round.
#pragma once

#include <cstdio>
#include <type_traits>

#include "../runtime/round.h"
#include "device/platform.cuh"
#include "op.h"
#ifdef __CUDACC__
#include <cuda_runtime.h>
#else
#include "host/executor.h"
#endif

namespace lateforge::cuda {

struct Grid {
  int64_t x = 1, y = 1, z = 1;
};

// The elements of a view as kernels take them; null when it is absent.
template <class T>
Dev<T> dev(const View& view) {
  if (!view.present()) return nullptr;
#ifdef __CUDACC__
  return view.as<T>();
#else
  return Dev<T>(host::requireLive(view.data, view.bytes()), view.bytes());
#endif
}

// `count` elements of T at byte `offset` of the op's workspace; null for none.
template <class T>
Dev<T> workspace(const OpCall& call, int64_t offset, int64_t count) {
  if (count == 0) return nullptr;
#ifdef __CUDACC__
  return reinterpret_cast<T*>(static_cast<char*>(call.workspace) + offset);
#else
  const int64_t size = count * static_cast<int64_t>(sizeof(T));
  if (offset < 0 || offset + size > call.workspaceBytes)
    host::fail("%lld bytes of workspace are used, %lld were given", static_cast<long long>(offset + size),
               static_cast<long long>(call.workspaceBytes));
  return Dev<T>(host::requireLive(static_cast<char*>(call.workspace) + offset, size), size);
#endif
}

inline Dev<Fault> faultOf(const Context& context) {
  View view;
  view.data = context.fault;
  view.dtype = DType::u8;
  view.rank = 1;
  view.dims[0] = sizeof(Fault);
  return dev<Fault>(view);
}

#ifdef __CUDACC__
template <class Kernel>
__global__ void __launch_bounds__(Kernel::kThreads, Kernel::kMinBlocks) entry(const __grid_constant__ Kernel kernel) {
  kernel();
}
#endif

inline int32_t refuse(Context& context, const char* kernel, Grid grid, int threads, int64_t sharedBytes,
                      const char* why) {
  std::snprintf(context.error, kErrorBytes, "%.260s; %lld x %lld x %lld blocks of %d lanes, %lld bytes, %.120s", why,
                static_cast<long long>(grid.x), static_cast<long long>(grid.y), static_cast<long long>(grid.z), threads,
                static_cast<long long>(sharedBytes), kernel);
  return 1;
}

// Launches the kernel on the context's stream. A grid without blocks is nothing to do.
template <class Kernel>
int32_t launch(Context& context, Grid grid, int64_t sharedBytes, const Kernel& kernel) {
  static_assert(std::is_trivially_copyable_v<Kernel> && sizeof(Kernel) <= 4096);
  static_assert(Kernel::kThreads % kWarp == 0 && Kernel::kThreads <= 1024 && Kernel::kMinBlocks >= 1);
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return 0;
  const char* broken = nullptr;
  if (!context.stream) broken = "no stream";
  if (grid.x < 0 || grid.x > 2147483647 || grid.y < 0 || grid.y > 65535 || grid.z < 0 || grid.z > 65535)
    broken = "the grid is too large";
  if (sharedBytes < 0 || sharedBytes > context.sharedLimit) broken = "too much shared memory for this device";
#ifdef __CUDACC__
  if (!broken && sharedBytes > 48 * 1024) {
    const cudaError_t status =
        cudaFuncSetAttribute(entry<Kernel>, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(sharedBytes));
    if (status != cudaSuccess) broken = cudaGetErrorString(status);
  }
  if (!broken) {
    const dim3 blocks(static_cast<unsigned>(grid.x), static_cast<unsigned>(grid.y), static_cast<unsigned>(grid.z));
    entry<Kernel><<<blocks, Kernel::kThreads, static_cast<size_t>(sharedBytes), context.stream>>>(kernel);
    if (const cudaError_t status = cudaGetLastError(); status != cudaSuccess) broken = cudaGetErrorString(status);
  }
#else
  char failure[kErrorBytes];
  if (!broken && !host::execute(
                     {{grid.x, grid.y, grid.z}, Kernel::kThreads, sharedBytes},
                     [](const void* k) { (*static_cast<const Kernel*>(k))(); }, &kernel, failure))
    broken = failure;
#endif
  return broken ? refuse(context, __PRETTY_FUNCTION__, grid, Kernel::kThreads, sharedBytes, broken) : 0;
}

}  // namespace lateforge::cuda
