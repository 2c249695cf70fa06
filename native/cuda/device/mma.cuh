// mma.sync m16n8k16 with float accumulators, and ldmatrix. With g = lane / 4 and t = lane % 4, two 16-bit numbers to a
// word, the lower one first, a lane holds of
//   A [16, 16]  word 0: (g, 2t), (g, 2t+1)   1: row g+8   2: columns +8   3: row g+8, columns +8
//   B [16, 8]   word 0: (2t, g), (2t+1, g)   1: rows +8
//   C [16, 8]   0: (g, 2t)   1: (g, 2t+1)    2, 3: row g+8
// The order in which the tensor core adds is its own: sums agree to rounding, small integers exactly.
#pragma once

#include "shared.cuh"
#include "warp.cuh"

namespace lateforge::cuda {

struct FragmentA {
  uint32_t word[4];
};
struct FragmentB {
  uint32_t word[2];
};
struct FragmentC {
  float value[4];
};

#ifdef __CUDACC__

// Two numbers as a word, `low` in the lower half.
template <class T>
LF_DEVICE uint32_t packPair(float low, float high);
#define LF_PACK(T, name)                                                         \
  template <>                                                                    \
  LF_DEVICE uint32_t packPair<T>(float low, float high) {                        \
    uint32_t word;                                                               \
    asm("cvt.rn." name "x2.f32 %0, %1, %2;" : "=r"(word) : "f"(high), "f"(low)); \
    return word;                                                                 \
  }
LF_PACK(Bf16, "bf16")
LF_PACK(F16, "f16")
#undef LF_PACK

// C += A B; T names the type of A and B.
template <class T>
LF_DEVICE void mma(FragmentC& c, const FragmentA& a, const FragmentB& b, Site = Site::current());
#define LF_MMA(T, name)                                                                                             \
  template <>                                                                                                       \
  LF_DEVICE void mma<T>(FragmentC & c, const FragmentA& a, const FragmentB& b, Site) {                              \
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32." name "." name                                             \
                 ".f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"                                       \
                 : "+f"(c.value[0]), "+f"(c.value[1]), "+f"(c.value[2]), "+f"(c.value[3])                           \
                 : "r"(a.word[0]), "r"(a.word[1]), "r"(a.word[2]), "r"(a.word[3]), "r"(b.word[0]), "r"(b.word[1])); \
  }
LF_MMA(Bf16, "bf16")
LF_MMA(F16, "f16")
#undef LF_MMA

// Matrix i of `count` (1, 2 or 4), each 8×8 of 16 bits: lanes 8i … 8i+7 give the addresses of its rows, 16-byte
// aligned. Lane l gets of each the elements (l/4, 2(l%4)) and the one to its right; transposed: (2(l%4), l/4) and the
// one below.
template <int count, bool transposed = false, class T>
LF_DEVICE void loadMatrix(uint32_t (&word)[count], Shared<T> row, Site = Site::current()) {
  static_assert(sizeof(T) == 2 && (count == 1 || count == 2 || count == 4));
  const uint32_t address = static_cast<uint32_t>(__cvta_generic_to_shared(row));
  if constexpr (count == 4 && !transposed)
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(word[0]), "=r"(word[1]), "=r"(word[2]), "=r"(word[3])
                 : "r"(address)
                 : "memory");
  else if constexpr (count == 4)
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(word[0]), "=r"(word[1]), "=r"(word[2]), "=r"(word[3])
                 : "r"(address)
                 : "memory");
  else if constexpr (count == 2 && !transposed)
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0,%1}, [%2];"
                 : "=r"(word[0]), "=r"(word[1])
                 : "r"(address)
                 : "memory");
  else if constexpr (count == 2)
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0,%1}, [%2];"
                 : "=r"(word[0]), "=r"(word[1])
                 : "r"(address)
                 : "memory");
  else if constexpr (!transposed)
    asm volatile("ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%0}, [%1];" : "=r"(word[0]) : "r"(address) : "memory");
  else
    asm volatile("ldmatrix.sync.aligned.m8n8.x1.trans.shared.b16 {%0}, [%1];"
                 : "=r"(word[0])
                 : "r"(address)
                 : "memory");
}

#else

template <class T>
uint32_t packPair(float low, float high) {
  return narrow<T>(low).bits | static_cast<uint32_t>(narrow<T>(high).bits) << 16;
}

namespace host {

struct Product {
  FragmentC* c;
  const FragmentA* a;
  const FragmentB* b;
};

// The lower or upper half of a word, as a number.
template <class T>
float half(uint32_t word, int which) {
  return widen(T{static_cast<uint16_t>(word >> (16 * which))});
}

template <class T>
void multiply(void* const* lanes) {
  float a[16][16], b[16][8];
  for (int l = 0; l < kWarp; ++l) {
    const auto* p = static_cast<const Product*>(lanes[l]);
    const int g = l / 4, t = l % 4;
    for (int w = 0; w < 4; ++w)
      for (int h = 0; h < 2; ++h) a[g + 8 * (w % 2)][2 * t + h + 8 * (w / 2)] = half<T>(p->a->word[w], h);
    for (int w = 0; w < 2; ++w)
      for (int h = 0; h < 2; ++h) b[2 * t + h + 8 * w][g] = half<T>(p->b->word[w], h);
  }
  for (int l = 0; l < kWarp; ++l) {
    float* c = static_cast<const Product*>(lanes[l])->c->value;
    for (int i = 0; i < 4; ++i) {
      const int row = l / 4 + 8 * (i / 2), column = 2 * (l % 4) + i % 2;
      double sum = c[i];
      for (int k = 0; k < 16; ++k) sum += static_cast<double>(a[row][k]) * b[k][column];
      c[i] = static_cast<float>(sum);
    }
  }
}

struct MatrixRow {
  const uint16_t* row;
  uint32_t* word;
};

template <int count, bool transposed>
void loadMatrices(void* const* lanes) {
  for (int m = 0; m < count; ++m) {
    const uint16_t* rows[8];
    uintptr_t addresses[8];
    for (int r = 0; r < 8; ++r) {
      rows[r] = static_cast<const MatrixRow*>(lanes[8 * m + r])->row;
      addresses[r] = reinterpret_cast<uintptr_t>(rows[r]);
    }
    countConflicts(addresses);
    for (int l = 0; l < kWarp; ++l) {
      const int g = l / 4, t = l % 4;
      const uint16_t low = transposed ? rows[2 * t][g] : rows[g][2 * t];
      const uint16_t high = transposed ? rows[2 * t + 1][g] : rows[g][2 * t + 1];
      static_cast<const MatrixRow*>(lanes[l])->word[m] = low | static_cast<uint32_t>(high) << 16;
    }
  }
}

}  // namespace host

template <class T>
void mma(FragmentC& c, const FragmentA& a, const FragmentB& b, Site site = Site::current()) {
  host::Product mine{&c, &a, &b};
  host::meetWarp(site, "mma", &mine, host::multiply<T>);
}

template <int count, bool transposed = false, class T>
void loadMatrix(uint32_t (&word)[count], Shared<T> row, Site site = Site::current()) {
  static_assert(sizeof(T) == 2 && (count == 1 || count == 2 || count == 4));
  struct alignas(16) Row {
    uint16_t element[8];
  };
  // Lanes beyond the last matrix give no address.
  const void* address = lane() < 8 * count ? recast<const Row>(row).span(1) : nullptr;
  host::MatrixRow mine{static_cast<const uint16_t*>(address), word};
  host::meetWarp(site, "loadMatrix", &mine, host::loadMatrices<count, transposed>);
}

#endif

}  // namespace lateforge::cuda
