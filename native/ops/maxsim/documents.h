// Documents as MaxSim on the CPU reads them: where they are, or widened from how they are stored.
#pragma once

#include <algorithm>

#include "../../cpu/half.h"
#include "../../cpu/kernels.h"
#include "../../cpu/loops.h"
#include "../../cpu/tile.h"
#include "scan.h"
#include "whole.h"

namespace lateforge::cpu::LF_ISA {

// One document, or several of one token, as they are scored: tokens [tokens, dim].
template <class T>
struct Document {
  const T* tokens;

  // A panel [dim, Vectors · lanes] over all of them.
  template <int Vectors, bool Argmax>
  void scan(const T* panel, int64_t dim, int64_t count, Best<T>& best) const {
    scanDocument<T, Vectors, Argmax>(panel, tokens, dim, count, best);
  }
  // Similarities [count ≤ kTileRows, stride] with a panel of so many rows.
  void similarities(const T* panel, int64_t dim, int64_t count, int64_t width, T* to, int64_t stride) const {
    block<T, false>(count, width, dim, tokens, dim, panel, width, to, stride, false);
  }
  T value(int64_t j, int64_t k, int64_t dim) const { return tokens[j * dim + k]; }
};

// Rows x [rows, dim] of queries to a panel `width` rows wide, zeros past the last.
template <class T>
void packRows(const T* x, int64_t rows, int64_t dim, int64_t width, T* panel) {
  for (int64_t r = 0; r < width; ++r)
    for (int64_t k = 0; k < dim; ++k) panel[k * width + r] = r < rows ? x[r * dim + k] : T(0);
}

// Documents d [Td, dim] that are read where they are.
template <class T>
struct InPlace {
  static constexpr auto kPack = packRows<T>;
  const T* data;

  template <class F>
  void tasks(int64_t count, F f) const {
    forTasks(count, [&](int64_t task) { f(task, nullptr); });
  }
  Document<T> read(int64_t row, int64_t, int64_t dim, T*, int64_t) const { return {data + row * dim}; }
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

// Documents that are made numbers of type T while a block of queries passes over them, in memory for `each` bytes a
// thread.
template <class T>
struct Widened {
  static constexpr auto kPack = packRows<T>;
  void* memory;
  int64_t bytes, each;

  template <class F>
  void tasks(int64_t count, F f) const {
    forTasksWithMemory(count, memory, bytes, each,
                       [&](int64_t task, char* own) { f(task, reinterpret_cast<T*>(own)); });
  }
};

// Documents in another type, Half, or int8_t times scales [Td].
template <class T, class From>
struct Stored : Widened<T> {
  const From* data;
  const T* scales;

  Stored(const Widened<T>& room, const From* data, const T* scales) : Widened<T>(room), data(data), scales(scales) {}

  Document<T> read(int64_t row, int64_t rows, int64_t dim, T* own, int64_t) const {
    widenRows(data + row * dim, scales ? scales + row : nullptr, rows, dim, own);
    return {own};
  }
};

// The same of int8_t, scored in whole numbers.
struct StoredWhole : Widened<float> {
  static constexpr auto kPack = packWhole;
  const int8_t* data;
  const float* scales;

  StoredWhole(const Widened<float>& room, const int8_t* data, const float* scales)
      : Widened<float>(room), data(data), scales(scales) {}

  WholeDocument read(int64_t row, int64_t rows, int64_t dim, float* own, int64_t next) const {
    int16_t* __restrict__ const wide = reinterpret_cast<int16_t*>(own);
    const int8_t* __restrict__ const stored = data + row * dim;
    for (int64_t i = 0; i < rows * dim; ++i) wide[i] = stored[i];
    return {stored, wide, scales + row, data + next * dim};
  }
};

// Of one thread, for its document, or as many of one token as make a tile.
template <class T>
int64_t widenedBytes(const OpCall& call) {
  return std::max<int64_t>(call.in[3].longest, kTileRows) * call.in[0].dims[1] * static_cast<int64_t>(sizeof(T));
}

}  // namespace lateforge::cpu::LF_ISA
