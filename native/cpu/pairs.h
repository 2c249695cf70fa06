// Products of int16, two at a time: one instruction multiplies neighbours and adds them up as int32.
#pragma once

#include "features.h"
#include "lanes.h"

namespace lateforge::cpu::LF_ISA {

typedef int16_t Shorts __attribute__((vector_size(LF_VECTOR_BYTES)));
typedef int32_t Ints __attribute__((vector_size(LF_VECTOR_BYTES)));

// The sums of neighbouring products.
inline Ints addPairs(Shorts a, Shorts b) {
#if LF_VECTOR_BYTES == 64 && defined(__AVX512BW__)
  return reinterpret_cast<Ints>(_mm512_madd_epi16(reinterpret_cast<__m512i>(a), reinterpret_cast<__m512i>(b)));
#elif LF_VECTOR_BYTES == 32 && defined(__AVX2__)
  return reinterpret_cast<Ints>(_mm256_madd_epi16(reinterpret_cast<__m256i>(a), reinterpret_cast<__m256i>(b)));
#elif LF_VECTOR_BYTES == 16 && defined(__SSE2__)
  return reinterpret_cast<Ints>(_mm_madd_epi16(reinterpret_cast<__m128i>(a), reinterpret_cast<__m128i>(b)));
#else
  Ints sum;
  for (int i = 0; i < LF_VECTOR_BYTES / 4; ++i)
    sum[i] = static_cast<int32_t>(a[2 * i]) * b[2 * i] + static_cast<int32_t>(a[2 * i + 1]) * b[2 * i + 1];
  return sum;
#endif
}

// What the compiler may not look through: it has this value now.
template <class V>
inline void inRegister(V& value) {
#if defined(__x86_64__)
  asm("" : "+v"(value));
#elif defined(__aarch64__)
  asm("" : "+w"(value));
#else
  asm("" : "+m"(value));
#endif
}

// sum += x, here and now: compilers reorder sums of integers, for which registers would not suffice.
inline void addTo(Ints& sum, Ints x) {
  sum += x;
  inRegister(sum);
}

// sum += addPairs(a, b), fused: by one instruction of VNNI. Only GCC's assembler takes that in code for all of AVX-512.
#if LF_VECTOR_BYTES == 64 && defined(__x86_64__) && !defined(__clang__)
inline bool fusesPairs() {
  static const bool here = features().vnni;
  return here;
}
template <bool Fused>
inline void addPairsTo(Ints& sum, Shorts a, Shorts b) {
  if constexpr (Fused)
    asm("vpdpwssd %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b));
  else
    addTo(sum, addPairs(a, b));
}
#else
inline bool fusesPairs() { return false; }
template <bool>
inline void addPairsTo(Ints& sum, Shorts a, Shorts b) {
  addTo(sum, addPairs(a, b));
}
#endif

}  // namespace lateforge::cpu::LF_ISA
