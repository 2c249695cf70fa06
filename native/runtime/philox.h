// Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011): the same bits on every
// device. Key: a sequence's two words (seed, step, global row, column hashed on the host). Counter: (feature block,
// position, site, head). Draws therefore depend on neither chunking, ranks nor restarts, and no state is kept.
#pragma once

#include <cstdint>

#ifdef __CUDACC__
#define LF_HOST_DEVICE __host__ __device__
#else
#define LF_HOST_DEVICE
#endif

namespace lateforge {

struct Philox4 {
  uint32_t word[4];
};

LF_HOST_DEVICE inline Philox4 philox(uint32_t key0, uint32_t key1, uint32_t c0, uint32_t c1, uint32_t c2, uint32_t c3) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53u} * c0;
    const uint64_t p1 = uint64_t{0xCD9E8D57u} * c2;
    const uint32_t n0 = static_cast<uint32_t>(p1 >> 32) ^ c1 ^ key0;
    const uint32_t n2 = static_cast<uint32_t>(p0 >> 32) ^ c3 ^ key1;
    c1 = static_cast<uint32_t>(p1);
    c3 = static_cast<uint32_t>(p0);
    c0 = n0;
    c2 = n2;
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
  return {{c0, c1, c2, c3}};
}

// A draw is kept iff word >= threshold; P(dropped) = threshold / 2^32.
LF_HOST_DEVICE inline uint32_t dropThreshold(double p) { return static_cast<uint32_t>(p * 4294967296.0); }

}  // namespace lateforge
