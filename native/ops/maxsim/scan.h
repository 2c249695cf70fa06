// How MaxSim on the CPU looks at one document: similarities of a panel of query rows with its tokens, some at a time,
// and what is best so far.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <utility>

#include "../../cpu/tile.h"

namespace lateforge::cpu::LF_ISA {

constexpr int kVectors = 2;                     // of rows in a panel
constexpr int kTile = kManyRegisters ? 14 : 6;  // document tokens; kTile x kVectors accumulators fit the registers

// The state of a panel's rows, one a lane, while they pass over one document.
template <class T>
struct Best {
  Vec<T> value[kVectors];
  Vec<IntOf<T>> token[kVectors];
  Vec<T> sum[kVectors];  // of all similarities: finite only if every one of them is
};

// Similarities of a panel's rows [dim, Vectors · lanes] with d [Tokens, dim], which `first` tokens come before; they
// never leave registers.
template <class T, int Vectors, bool Argmax, int Tokens>
void scanTile(const T* panel, const T* d, int64_t dim, int64_t first, Best<T>& best) {
  using Integers = Vec<IntOf<T>>;
  Vec<T> sims[Tokens][Vectors] = {};
  const T* ahead = d + Tokens * dim;
  addProducts<T, Tokens, Vectors>(dim, d, dim, panel, Vectors * kLanes<T>, sims, [=](int64_t k) {
    // So many lines every two steps as the next tile has at most.
    constexpr int64_t line = 64 / static_cast<int64_t>(sizeof(T)), lines = (2 * kTile + line - 1) / line;
#pragma GCC unroll 4
    for (int64_t i = 0; i < lines; ++i) __builtin_prefetch(ahead + (k / 2 * lines + i) * line);
  });
#pragma GCC unroll 2
  for (int v = 0; v < Vectors; ++v) {
    Vec<T> value = best.value[v], sum = best.sum[v];
    Integers token = best.token[v];
#pragma GCC unroll 16
    for (int t = 0; t < Tokens; ++t) {
      sum += sims[t][v];
      if constexpr (Argmax) {
        const Integers better = sims[t][v] > value;
        const Integers here = Integers{} + static_cast<IntOf<T>>(first + t);
        token = better ? here : token;
      }
      value = sims[t][v] > value ? sims[t][v] : value;
    }
    best.value[v] = value;
    best.sum[v] = sum;
    if constexpr (Argmax) best.token[v] = token;
  }
}

template <class T>
using Scan = void (*)(const T* panel, const T* d, int64_t dim, int64_t first, Best<T>& best);

// scanTile for 1 to kTile tokens.
template <class T, int Vectors, bool Argmax, int... Tokens>
constexpr void fillScans(Scan<T>* scans, std::integer_sequence<int, Tokens...>) {
  ((scans[Tokens] = &scanTile<T, Vectors, Argmax, Tokens + 1>), ...);
}

template <class T, int Vectors, bool Argmax>
struct Scans {
  Scan<T> of[kTile];
  constexpr Scans() : of{} { fillScans<T, Vectors, Argmax>(of, std::make_integer_sequence<int, kTile>{}); }
};

// What is best of no tokens.
template <class T>
inline void startOf(Best<T>& best) {
  best = {};
  for (Vec<T>& value : best.value) value -= std::numeric_limits<T>::infinity();
}

// f(first, count): tokens in tiles as equal as possible.
template <class F>
inline void forTiles(int64_t tokens, F f) {
  const int64_t tiles = (tokens + kTile - 1) / kTile, size = tokens / tiles, larger = tokens % tiles;
  for (int64_t i = 0, first = 0, n = 0; i < tiles; ++i, first += n) f(first, n = size + (i < larger));
}

// A panel [dim, Vectors · lanes] over a whole document d [tokens, dim], in tiles as equal as possible.
template <class T, int Vectors, bool Argmax>
void scanDocument(const T* panel, const T* d, int64_t dim, int64_t tokens, Best<T>& best) {
  static constexpr Scans<T, Vectors, Argmax> scans;
  startOf(best);
  forTiles(tokens, [&](int64_t first, int64_t n) { scans.of[n - 1](panel, d + first * dim, dim, first, best); });
}

// One row q [dim] over tokens [tokens, dim], of which value(j, k) is a number, by the book: a NaN wins, and the first
// of them.
template <class T, class F>
T scanRow(const T* q, int64_t dim, int64_t tokens, int64_t& token, F value) {
  T best = -std::numeric_limits<T>::infinity();
  token = 0;
  for (int64_t j = 0; j < tokens; ++j) {
    T sim = 0;
    for (int64_t k = 0; k < dim; ++k) sim += q[k] * value(j, k);
    if (sim > best || std::isnan(sim)) {
      best = sim;
      token = j;
    }
    if (std::isnan(sim)) break;
  }
  return best;
}

}  // namespace lateforge::cpu::LF_ISA
