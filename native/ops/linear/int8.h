// Products of rows with int8 weights: the rows are made int8 too, kGroup numbers at a time around a middle and with a
// scale of their own (what comes out of GELU is nearly all positive, and an outlier shall not round what is far from
// it). Sums of a group are exact int32, and groups are added in order, so that results are the same on all processors
// but for the last rounding.
//
// Weights lie in panels of 32 of their rows, four features a word: packed [out / 32][in / 4][32][4], zeros beyond
// either end. Rows of x lie in tiles of kInt8Rows, so that a product reads both in order. One instruction multiplies
//   four features and adds them up where there is VNNI (uint8 × int8: weights are read as w + 128, and 128 · Σ x taken
//   off), else two, as int16.
#pragma once

#include <algorithm>
#include <cmath>

#include "../../cpu/features.h"
#include "../../cpu/loops.h"
#include "../../cpu/pairs.h"

namespace lateforge::cpu::LF_ISA {

constexpr int64_t kPanel = 32, kWord = 4;
constexpr int64_t kGroup = 128, kGroupWords = kGroup / kWord;
constexpr int kInt8Rows = kManyRegisters ? 14 : 6;
constexpr int64_t kPart = 2 * kLanes<float>;  // columns of a product: two vectors of sums
constexpr int64_t kPanelWord = kPanel * kWord;

typedef int8_t Bytes __attribute__((vector_size(LF_VECTOR_BYTES)));

// Whether this processor multiplies four int8 at once, as kernels of this instruction set may.
inline bool quadsHere() {
#if LF_VECTOR_BYTES == 64
  static const bool here = features().vnni;
  return here;
#else
  return false;
#endif
}

// sums [kInt8Rows, kPart] of a tile of x, pairs (0, 2) and (1, 3) of each word [words, 2, kInt8Rows], with kPart
// columns of a panel w [words, kPanel, kWord].
inline void multiplyPairs(int64_t words, const int32_t* x, const int8_t* w, int32_t* sums) {
  Ints sum[kInt8Rows][2] = {};
  for (int64_t k = 0; k < words; ++k, w += kPanelWord)
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half, x += kInt8Rows) {
      Shorts b[2];
#pragma GCC unroll 2
      for (int j = 0; j < 2; ++j) {
        const Shorts both = reinterpret_cast<Shorts>(load(reinterpret_cast<const float*>(w) + j * kLanes<float>));
        b[j] = half == 0 ? (both << 8) >> 8 : both >> 8;
      }
#pragma GCC unroll 16
      for (int r = 0; r < kInt8Rows; ++r) {
        const Shorts a = reinterpret_cast<Shorts>(Ints{} + x[r]);
        addTo(sum[r][0], addPairs(a, b[0]));
        addTo(sum[r][1], addPairs(a, b[1]));
      }
    }
  // One by one: whose address is taken lives in memory, in the loop too.
#pragma GCC unroll 16
  for (int r = 0; r < kInt8Rows; ++r)
#pragma GCC unroll 2
    for (int j = 0; j < 2; ++j)
      store(reinterpret_cast<float*>(sums) + (2 * r + j) * kLanes<float>, reinterpret_cast<Vec<float>>(sum[r][j]));
}

#if LF_VECTOR_BYTES == 64
// The same for x [words, kInt8Rows] of four features each; what is 128 · Σ x too much.
__attribute__((target("avx512vnni"))) inline void multiplyQuads(int64_t words, const int32_t* x, const int8_t* w,
                                                                int32_t* sums) {
  __m512i sum[kInt8Rows][2];
#pragma GCC unroll 16
  for (int r = 0; r < kInt8Rows; ++r) sum[r][0] = sum[r][1] = _mm512_setzero_si512();
  const __m512i sign = _mm512_set1_epi8(-128);
  for (int64_t k = 0; k < words; ++k, w += kPanelWord, x += kInt8Rows) {
    const __m512i b0 = _mm512_xor_si512(_mm512_loadu_si512(w), sign);
    const __m512i b1 = _mm512_xor_si512(_mm512_loadu_si512(w + LF_VECTOR_BYTES), sign);
#pragma GCC unroll 16
    for (int r = 0; r < kInt8Rows; ++r) {
      const __m512i a = _mm512_set1_epi32(x[r]);
      sum[r][0] = _mm512_dpbusd_epi32(sum[r][0], b0, a);
      sum[r][1] = _mm512_dpbusd_epi32(sum[r][1], b1, a);
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < kInt8Rows; ++r)
#pragma GCC unroll 2
    for (int j = 0; j < 2; ++j) _mm512_storeu_si512(sums + (2 * r + j) * 16, sum[r][j]);
}
#endif

// sums [kPanel] of the columns of a panel w [words, kPanel, kWord].
template <class T>
inline void columnSums(int64_t words, const int8_t* w, T* sums) {
  const Shorts ones = Shorts{} + int16_t{1};
  for (int64_t at = 0; at < kPanelWord; at += LF_VECTOR_BYTES) {
    Ints sum{};
    for (int64_t k = 0; k < words; ++k) {
      const Shorts both = reinterpret_cast<Shorts>(load(reinterpret_cast<const float*>(w + k * kPanelWord + at)));
      sum += addPairs((both << 8) >> 8, ones) + addPairs(both >> 8, ones);
    }
    for (int lane = 0; lane < kLanes<float>; ++lane) sums[at / kWord + lane] = static_cast<T>(sum[lane]);
  }
}

// Tiles of x, made int8: values of tile i begin at values + i · words · each · kInt8Rows, `each` numbers a word; of
// every group [groups, padded rows] of a row its scale and middle, and what to take off its sums.
template <class T>
struct Int8Tiles {
  int64_t rows, in, words, groups, each;
  int32_t* values;
  T* scale;
  T* middle;
  int32_t* excess;

  Int8Tiles(int64_t rowCount, int64_t features, void* memory)
      : rows(rowCount),
        in(features),
        words(divideUp(features, kWord)),
        groups(std::max<int64_t>(divideUp(features, kGroup), 1)),
        each(quadsHere() ? 1 : 2) {
    char* at = static_cast<char*>(memory);
    values = reinterpret_cast<int32_t*>(at);
    scale = reinterpret_cast<T*>(at += partSize(paddedRows() * words * each * 4));
    middle = reinterpret_cast<T*>(at += factorBytes());
    excess = reinterpret_cast<int32_t*>(at + factorBytes());
  }
  int64_t tiles() const { return divideUp(rows, kInt8Rows); }
  int64_t paddedRows() const { return tiles() * kInt8Rows; }
  int64_t bytes() const {
    return partSize(paddedRows() * words * each * 4) + 2 * factorBytes() + partSize(groups * paddedRows() * 4);
  }
  int64_t factorBytes() const { return partSize(groups * paddedRows() * static_cast<int64_t>(sizeof(T))); }
  const int32_t* tile(int64_t i) const { return values + i * words * each * kInt8Rows; }

  // Rows of tile i of x [rows, in]: n = (x − middle) / scale to nearest; from the least number of a group, or 0, to its
  // largest, or 0, there are 254 scales. A group that is not finite has the scale NaN.
  void fillTile(const T* x, int64_t i) {
    for (int64_t group = 0; group < groups; ++group) {
      int32_t* to = values + (i * words + group * kGroupWords) * each * kInt8Rows;
      const int64_t first = group * kGroup, count = std::min(kGroup, in - first);
      for (int r = 0; r < kInt8Rows; ++r) {
        const int64_t row = i * kInt8Rows + r, at = group * paddedRows() + row;
        if (row < rows)
          fill(x + row * in + first, count, to + r, at);
        else
          scale[at] = 0, clear(count, to + r, at);
      }
    }
  }

 private:
  void clear(int64_t count, int32_t* to, int64_t at) {
    for (int64_t k = 0; k < divideUp(count, kWord) * each; ++k) to[k * kInt8Rows] = 0;
    excess[at] = 0;
    middle[at] = 0;
  }

  void fill(const T* x, int64_t count, int32_t* to, int64_t at) {
    Vec<T> least{}, most{}, odd{};  // odd: 0 where all is finite, else NaN
    forLanes<T>(count, [&](int64_t k, auto n) {
      const Vec<T> v = loadPart(x + k, n);
      least = smaller(v, least);
      most = larger(v, most);
      odd += v - v;
    });
    T low = 0, high = 0;
    for (int lane = 0; lane < kLanes<T>; ++lane) low = std::min(low, least[lane]), high = std::max(high, most[lane]);
    const T half = high / 2 - low / 2;
    scale[at] = half / T{127} + addLanes<T>(odd);
    // Numbers so small that 127 over them is none are 0.
    const T by = half > 0 ? T{127} / half : T{0};
    if (!std::isfinite(scale[at]) || !std::isfinite(by)) return clear(count, to, at);
    middle[at] = high / 2 + low / 2;
    int32_t total = 0;
    for (int64_t k = 0; k < count; k += kBatch) {
      const int64_t some = std::min(kBatch, count - k), used = divideUp(some, kWord);
      int8_t n[kBatch];
      total += nearest(x + k, some, middle[at], by, n);
      for (int64_t j = 0; j < used; ++j, to += each * kInt8Rows) {
        int32_t word;
        std::memcpy(&word, n + j * kWord, kWord);
        if (each == 1)
          to[0] = word;
        else
          to[0] = pairOf(n[j * kWord], n[j * kWord + 2]), to[kInt8Rows] = pairOf(n[j * kWord + 1], n[j * kWord + 3]);
      }
    }
    excess[at] = each == 1 ? 128 * total : 0;
  }

  static constexpr int64_t kBatch = 64;
  // n [kBatch] = (x [count] − from) · by to nearest, ties to even, zeros after it, for |(x − from) · by| ≤ 127; their
  // sum. Adding 1.5 · 2^23 rounds to an integer and leaves it in the lowest bits.
  static int32_t nearest(const T* x, int64_t count, T from, T by, int8_t* n) {
    Ints total{};
    for (int64_t k = 0; k < kBatch; k += kLanes<float>) {
      // Rounded before the addition, not fused with it: ties fall alike on all processors.
      Vec<float> v = scaled(x + k, std::clamp<int64_t>(count - k, 0, kLanes<float>), from, by);
      inRegister(v);
      const Ints whole = reinterpret_cast<Ints>(v + 12582912.0f) - 0x4b400000;
      typedef int8_t Narrow __attribute__((vector_size(LF_VECTOR_BYTES / 4)));
      const Narrow bytes = __builtin_convertvector(whole, Narrow);
      std::memcpy(n + k, &bytes, sizeof bytes);
      total += whole;
    }
    int32_t sum = 0;
    for (int lane = 0; lane < kLanes<float>; ++lane) sum += total[lane];
    return sum;
  }
  static Vec<float> scaled(const T* x, int64_t count, T from, T by) {
    if constexpr (sizeof(T) == 4)
      if (count == kLanes<float>) return (load(x) - from) * by;
    Vec<float> v{};
    for (int64_t i = 0; i < count; ++i) v[i] = static_cast<float>((x[i] - from) * by);
    return v;
  }
  static int32_t pairOf(int16_t low, int16_t high) {
    return static_cast<int32_t>(static_cast<uint16_t>(low) | static_cast<uint32_t>(high) << 16);
  }
};

// to [kPart] = (add ? to : 0) + (sums − excess) · scale + totals · middle: what a group of a row of x adds to a row of
// y.
template <class T>
inline void addGroup(const int32_t* sums, int32_t excess, T scale, T middle, const T* totals, bool add, T* to) {
  if constexpr (sizeof(T) == 4) {
    for (int64_t j = 0; j < kPart; j += kLanes<T>) {
      const Ints whole = reinterpret_cast<Ints>(load(reinterpret_cast<const float*>(sums + j))) - excess;
      const Vec<T> value = __builtin_convertvector(whole, Vec<T>) * scale + load(totals + j) * middle;
      store(to + j, add ? load(to + j) + value : value);
    }
  } else {
    for (int64_t j = 0; j < kPart; ++j) {
      const T value = static_cast<T>(sums[j] - excess) * scale + totals[j] * middle;
      to[j] = add ? to[j] + value : value;
    }
  }
}

// y [T, out] = x · wᵀ + b of tiles [firstTile, lastTile) and panels [firstPanel, lastPanel) of packed w; totals
// [groups, padded out] of w's columns; scales, b [out], b null for none.
template <class T>
void int8Block(const Int8Tiles<T>& x, const int8_t* packed, const T* totals, const T* scales, const T* b, T* y,
               int64_t out, int64_t firstTile, int64_t lastTile, int64_t firstPanel, int64_t lastPanel) {
  alignas(64) int32_t sums[kInt8Rows * kPart];
  alignas(64) T whole[kInt8Rows * kPart];
  const int64_t paddedOut = divideUp(out, kPanel) * kPanel;
  for (int64_t panel = firstPanel; panel < lastPanel; ++panel)
    for (int64_t part = 0; part < kPanel && panel * kPanel + part < out; part += kPart) {
      const int64_t column = panel * kPanel + part, columns = std::min(kPart, out - column);
      for (int64_t tile = firstTile; tile < lastTile; ++tile) {
        for (int64_t group = 0; group < x.groups; ++group) {
          const int64_t first = group * kGroupWords, words = std::min(kGroupWords, x.words - first);
          const int8_t* w = packed + (panel * x.words + first) * kPanelWord + part * kWord;
          const int32_t* values = x.tile(tile) + first * x.each * kInt8Rows;
#if LF_VECTOR_BYTES == 64
          if (x.each == 1)
            multiplyQuads(words, values, w, sums);
          else
#endif
            multiplyPairs(words, values, w, sums);
          for (int r = 0; r < kInt8Rows; ++r) {
            const int64_t at = group * x.paddedRows() + tile * kInt8Rows + r;
            addGroup(sums + r * kPart, x.excess[at], x.scale[at], x.middle[at], totals + group * paddedOut + column,
                     group > 0, whole + r * kPart);
          }
        }
        for (int64_t row = tile * kInt8Rows; row < std::min((tile + 1) * kInt8Rows, x.rows); ++row) {
          const T* from = whole + (row - tile * kInt8Rows) * kPart;
          forLanes<T>(columns, [&](int64_t j, auto n) {
            Vec<T> value = load(from + j) * loadPart(scales + column + j, n);
            if (b) value += loadPart(b + column + j, n);
            storePart(y + row * out + column + j, value, n);
          });
        }
      }
    }
}

}  // namespace lateforge::cpu::LF_ISA
