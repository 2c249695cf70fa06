// Documents as residual codes: a token is its centroid, and of each number a code of 2 or 4 bits that names a level.
#pragma once

#include <cstring>

#include "documents.h"

namespace lateforge::cpu::LF_ISA {

// The 16 levels that four bits name; of two bits the four, four times.
template <class T>
struct Levels {
  T of[16];
};

// The levels that the codes of each byte name: [256, codes of a byte], the first code in the lowest bits. Four codes a
// byte at most.
constexpr int64_t kByteLevels = 256 * 4;
template <class T>
void levelsOfBytes(const Levels<T>& levels, int each, T* table) {
  const int bits = 8 / each;
  for (int byte = 0; byte < 256; ++byte)
    for (int i = 0; i < each; ++i) table[byte * each + i] = levels.of[(byte >> (i * bits)) & ((1 << bits) - 1)];
}

// y: the levels of codes of `Bits` bits, kLanes numbers at a time as long as `dim` has them, by instructions that look
// them up in registers. How many are done.
#if LF_VECTOR_BYTES == 64 && defined(__AVX512F__)
template <int Bits>
inline int64_t lookUpLanes(const uint8_t* codes, const Levels<float>& levels, int64_t dim, float* y) {
  const __m512 table = _mm512_loadu_ps(levels.of);
  const __m512i fours = _mm512_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28, 0, 4, 8, 12, 16, 20, 24, 28);
  const __m512i twos = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
  int64_t k = 0;
  for (; k + 16 <= dim; k += 16, codes += 2 * Bits) {
    int32_t words[2] = {};
    std::memcpy(words, codes, 2 * Bits);
    __m512i index = _mm512_set1_epi32(words[0]);
    if constexpr (Bits == 4) index = _mm512_mask_set1_epi32(index, 0xff00, words[1]);
    // Of an index the lowest four bits count.
    index = _mm512_maskz_srlv_epi32(0xffff, index, Bits == 4 ? fours : twos);
    _mm512_storeu_ps(y + k, _mm512_maskz_permutexvar_ps(0xffff, index, table));
  }
  return k;
}
#elif LF_VECTOR_BYTES == 32 && defined(__AVX2__)
template <int Bits>
inline int64_t lookUpLanes(const uint8_t* codes, const Levels<float>& levels, int64_t dim, float* y) {
  const __m256 low = _mm256_loadu_ps(levels.of), high = _mm256_loadu_ps(levels.of + 8);
  const __m256i shifts =
      Bits == 4 ? _mm256_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28) : _mm256_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14);
  for (int64_t k = 0; k + 8 <= dim; k += 8, codes += Bits) {
    int32_t word = 0;
    std::memcpy(&word, codes, Bits);
    // Of an index the lowest three bits count; the fourth says which half of the levels.
    const __m256i index = _mm256_srlv_epi32(_mm256_set1_epi32(word), shifts);
    __m256 found = _mm256_permutevar8x32_ps(low, index);
    if constexpr (Bits == 4)
      found = _mm256_blendv_ps(found, _mm256_permutevar8x32_ps(high, index),
                               _mm256_castsi256_ps(_mm256_slli_epi32(index, 28)));
    _mm256_storeu_ps(y + k, found);
  }
  return dim;  // a multiple of 8
}
#endif

// y [dim]: codes [dim / Each] as their levels, Each a byte.
template <int Each, class T>
inline void lookUp(const uint8_t* codes, const Levels<T>& levels, const T* table, int64_t dim, T* y) {
  int64_t k = 0;
#if (LF_VECTOR_BYTES == 64 && defined(__AVX512F__)) || (LF_VECTOR_BYTES == 32 && defined(__AVX2__))
  if constexpr (std::is_same_v<T, float>) k = lookUpLanes<8 / Each>(codes, levels, dim, y);
#else
  static_cast<void>(levels);
#endif
  for (; k < dim; k += Each) std::memcpy(y + k, table + codes[k / Each] * Each, Each * sizeof(T));
}

// Documents as scales[t] times the levels [dim] of codes [Td, dim / perByte], on top of centroid of[t] of centroids
// int8 [count, dim] times centroidScales [count]. What is of no centroid is all zeros.
template <class T>
struct Residual : Widened<T> {
  const uint8_t* codes;
  const Half* scales;
  const int32_t* of;
  const int8_t* centroids;
  const T* centroidScales;
  int64_t count;  // of centroids
  int perByte;    // codes
  Levels<T> levels;
  const T* table;

  // rest: scales, of, centroids, centroidScales, levels; table: kByteLevels, written here.
  Residual(const Widened<T>& room, const View& codes, const View* rest, T* table)
      : Widened<T>(room),
        codes(codes.as<uint8_t>()),
        scales(rest[0].as<Half>()),
        of(rest[1].as<int32_t>()),
        centroids(rest[2].as<int8_t>()),
        centroidScales(rest[3].as<T>()),
        count(rest[2].rows()),
        perByte(rest[4].dims[0] == 4 ? 4 : 2),
        table(table) {
    for (int i = 0; i < 16; ++i) levels.of[i] = rest[4].as<T>()[i % rest[4].dims[0]];
    levelsOfBytes(levels, perByte, table);
  }

  Document<T> read(int64_t first, int64_t rows, int64_t dim, T* own, int64_t) const {
    for (int64_t row = first; row < first + rows; ++row) {
      T* __restrict__ const y = own + (row - first) * dim;
      if (of[row] < 0 || of[row] >= count) {
        std::fill_n(y, dim, T{0});
        continue;
      }
      if (perByte == 2)
        lookUp<2>(codes + row * (dim / 2), levels, table, dim, y);
      else
        lookUp<4>(codes + row * (dim / 4), levels, table, dim, y);
      const T scale = static_cast<T>(widen(scales[row])), by = centroidScales[of[row]];
      const int8_t* __restrict__ const centroid = centroids + of[row] * dim;
      for (int64_t k = 0; k < dim; ++k) y[k] = y[k] * scale + static_cast<T>(centroid[k]) * by;
    }
    return {own};
  }
};

}  // namespace lateforge::cpu::LF_ISA
