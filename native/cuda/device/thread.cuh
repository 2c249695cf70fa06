// Who a lane is, and barriers. Blocks have one dimension and a multiple of 32 lanes; grids have up to three.
#pragma once

#include "platform.cuh"

namespace lateforge::cuda {

#ifdef __CUDACC__

LF_DEVICE int thread() { return static_cast<int>(threadIdx.x); }
LF_DEVICE int64_t blockX() { return blockIdx.x; }
LF_DEVICE int64_t blockY() { return blockIdx.y; }
LF_DEVICE int64_t blockZ() { return blockIdx.z; }
LF_DEVICE int64_t gridX() { return gridDim.x; }
// All lanes of the block arrive, and see what the others wrote before. Nobody may have returned.
LF_DEVICE void syncThreads(Site = Site::current()) { __syncthreads(); }
// The same for a warp.
LF_DEVICE void syncWarp(Site = Site::current()) { __syncwarp(); }

#else

inline int thread() { return host::here().thread; }
inline int64_t blockX() { return host::here().block[0]; }
inline int64_t blockY() { return host::here().block[1]; }
inline int64_t blockZ() { return host::here().block[2]; }
inline int64_t gridX() { return host::here().grid[0]; }
inline void syncThreads(Site site = Site::current()) { host::meetBlock(site); }
inline void syncWarp(Site site = Site::current()) {
  host::meetWarp(site, "syncWarp", nullptr, [](void* const*) {});
}

#endif

LF_DEVICE int lane() { return thread() % kWarp; }
LF_DEVICE int warp() { return thread() / kWarp; }

}  // namespace lateforge::cuda
