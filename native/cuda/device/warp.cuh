// Exchange between the lanes of a warp: all 32 take part. Sums run in a fixed order (a butterfly), and every lane gets
// the same bits.
#pragma once

#include "math.cuh"
#include "thread.cuh"

namespace lateforge::cuda {

#ifdef __CUDACC__

template <class T>
LF_DEVICE T shuffle(T value, int fromLane, Site = Site::current()) {
  return __shfl_sync(0xffffffffu, value, fromLane);
}
template <class T>
LF_DEVICE T shuffleXor(T value, int mask, Site = Site::current()) {
  return __shfl_xor_sync(0xffffffffu, value, mask);
}
// From `by` lanes below; the lowest `by` lanes keep their own.
template <class T>
LF_DEVICE T shuffleUp(T value, int by, Site = Site::current()) {
  return __shfl_up_sync(0xffffffffu, value, by);
}
// Bit l: what lane l said.
LF_DEVICE uint32_t ballot(bool yes, Site = Site::current()) { return __ballot_sync(0xffffffffu, yes); }
LF_DEVICE int countBits(uint32_t bits) { return __popc(bits); }
// The position of the lowest bit that is set; bits is not 0.
LF_DEVICE int lowestBit(uint32_t bits) { return __ffs(static_cast<int>(bits)) - 1; }

#else

namespace host {

template <class T>
struct Exchange {
  T value, result;
  int lane;
};

// Lane l gets the value of lane e.lane, as each lane asks.
template <class T>
T exchange(const Site& site, const char* what, T value, int fromLane) {
  static_assert(sizeof(T) == 4 || sizeof(T) == 8);
  if (fromLane < 0 || fromLane >= kWarp) fail("%s from lane %d", what, fromLane);
  Exchange<T> mine{value, {}, fromLane};
  meetWarp(site, what, &mine, [](void* const* lanes) {
    for (int l = 0; l < kWarp; ++l) {
      auto* e = static_cast<Exchange<T>*>(lanes[l]);
      e->result = static_cast<const Exchange<T>*>(lanes[e->lane])->value;
    }
  });
  return mine.result;
}

}  // namespace host

template <class T>
T shuffle(T value, int fromLane, Site site = Site::current()) {
  return host::exchange(site, "shuffle", value, fromLane % kWarp);
}
template <class T>
T shuffleXor(T value, int mask, Site site = Site::current()) {
  return host::exchange(site, "shuffleXor", value, lane() ^ mask);
}
template <class T>
T shuffleUp(T value, int by, Site site = Site::current()) {
  return host::exchange(site, "shuffleUp", value, lane() >= by ? lane() - by : lane());
}
inline uint32_t ballot(bool yes, Site site = Site::current()) {
  uint32_t word = yes;
  host::meetWarp(site, "ballot", &word, [](void* const* lanes) {
    uint32_t all = 0;
    for (int l = 0; l < kWarp; ++l) all |= *static_cast<const uint32_t*>(lanes[l]) << l;
    for (int l = 0; l < kWarp; ++l) *static_cast<uint32_t*>(lanes[l]) = all;
  });
  return word;
}
inline int countBits(uint32_t bits) { return __builtin_popcount(bits); }
inline int lowestBit(uint32_t bits) { return __builtin_ctz(bits); }

#endif

template <class T>
LF_DEVICE T warpSum(T value, Site site = Site::current()) {
  for (int mask = kWarp / 2; mask > 0; mask /= 2) value += shuffleXor(value, mask, site);
  return value;
}
// NaN stays.
template <class T>
LF_DEVICE T warpMax(T value, Site site = Site::current()) {
  for (int mask = kWarp / 2; mask > 0; mask /= 2) value = maximum(value, shuffleXor(value, mask, site));
  return value;
}

}  // namespace lateforge::cuda
