// Documents as MaxSim on the CPU reads them: where they are, or widened from how they are stored.
#pragma once

#include <algorithm>

#include "../../cpu/half.h"
#include "../../cpu/kernels.h"
#include "../../cpu/loops.h"
#include "../../cpu/tile.h"

namespace lateforge::cpu::LF_ISA {

// Documents d [Td, dim] that are read where they are.
template <class T>
struct InPlace {
  const T* data;

  template <class F>
  void tasks(int64_t count, F f) const {
    forTasks(count, [&](int64_t task) { f(task, nullptr); });
  }
  const T* read(int64_t row, int64_t, int64_t dim, T*) const { return data + row * dim; }
};

inline void widenRows(const Half* x, const float*, int64_t rows, int64_t dim, float* y) {
  for (int64_t i = 0; i < rows * dim; i += 8) {
#if defined(__F16C__)
    _mm256_storeu_ps(y + i, _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(x + i))));
#else
    for (int64_t k = i; k < i + 8; ++k) y[k] = widen(x[k]);
#endif
  }
}
inline void widenRows(const Half* x, const double*, int64_t rows, int64_t dim, double* y) {
  for (int64_t i = 0; i < rows * dim; ++i) y[i] = widen(x[i]);
}
template <class T>
void widenRows(const int8_t* __restrict__ x, const T* scales, int64_t rows, int64_t dim, T* __restrict__ y) {
  for (int64_t row = 0; row < rows; ++row) {
    const T scale = scales[row];
    for (int64_t k = row * dim; k < (row + 1) * dim; ++k) y[k] = static_cast<T>(x[k]) * scale;
  }
}

// Documents in another type, Half, or int8_t times scales [Td]: each is made numbers of type T while a block of queries
// passes over it, in memory for `each` bytes a thread.
template <class T, class From>
struct Stored {
  const From* data;
  const T* scales;
  void* memory;
  int64_t bytes, each;

  template <class F>
  void tasks(int64_t count, F f) const {
    forTasksWithMemory(count, memory, bytes, each,
                       [&](int64_t task, char* own) { f(task, reinterpret_cast<T*>(own)); });
  }
  const T* read(int64_t row, int64_t rows, int64_t dim, T* own) const {
    widenRows(data + row * dim, scales ? scales + row : nullptr, rows, dim, own);
    return own;
  }
};

// Of one thread, for its document, or as many of one token as make a tile.
template <class T>
int64_t widenedBytes(const OpCall& call) {
  return std::max<int64_t>(call.in[3].longest, kTileRows) * call.in[0].dims[1] * static_cast<int64_t>(sizeof(T));
}

}  // namespace lateforge::cpu::LF_ISA
