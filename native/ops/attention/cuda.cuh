// What the attention kernels share (formulas: native/ops/attention/cpu.cc). In packed rows, the keys that a query sees
// are one interval, and so are the queries that see a key: segments, key counts and the window come down to two numbers
// a row. A tile is therefore any 64 neighbouring rows, of one long sequence or of many short ones, every row with its
// own interval; the number of a tile is all of the work list that is needed.
#pragma once

#include "../../cuda/launch.h"
#include "../../cuda/segments.cuh"
#include "../../runtime/philox.h"

namespace lateforge::cuda {

struct AttentionShape {
  Dev<const int64_t> segments;    // [sequences + 1]
  Dev<const int32_t> keyLengths;  // [sequences]; null: all are keys
  Dev<const uint32_t> seeds;      // [sequences, 2]; null without dropout
  int64_t sequences;
  int32_t rows, heads, headDim, window;  // window −1: global
  uint32_t threshold, site;
  float scale, keep;  // headDim^-½; what dropout multiplies with

  LF_DEVICE int64_t width() const { return int64_t{3} * heads * headDim; }
};

// What the kernels are given.
template <class T>
struct ForwardOperands {
  AttentionShape shape;
  Dev<const T> qkv;  // [rows, 3 · heads · headDim]
  Dev<T> o;          // [rows, heads · headDim]
  Dev<float> lse;    // [rows, heads]
};
template <class T>
struct BackwardOperands {
  AttentionShape shape;
  Dev<const T> qkv;       // [rows, 3 · heads · headDim]
  Dev<const T> o, dO;     // [rows, heads · headDim]
  Dev<const float> lse;   // [rows, heads]
  Dev<T> dqkv;            // as qkv
  Dev<float> statistics;  // [2, heads, rows], from the kernel of the queries to that of the keys
};

// What row `row` has to do with others: rows [low, high) of its sequence, which starts at `begin`.
struct Sight {
  int64_t sequence;
  int32_t begin, low, high;
};

LF_DEVICE Sight sequenceSight(const AttentionShape& shape, int32_t row) {
  const int64_t s = sequenceOf(shape.segments, shape.sequences, row);
  return {s, static_cast<int32_t>(shape.segments[s]), static_cast<int32_t>(shape.segments[s]),
          static_cast<int32_t>(shape.segments[s + 1])};
}

// The first row after the keys of a sequence.
LF_DEVICE int32_t keyEnd(const AttentionShape& shape, const Sight& all) {
  const int32_t count = shape.keyLengths ? static_cast<int32_t>(shape.keyLengths[all.sequence]) : all.high - all.begin;
  return count < all.high - all.begin ? all.begin + count : all.high;
}

LF_DEVICE void narrowToWindow(const AttentionShape& shape, int32_t row, Sight& sight) {
  if (shape.window < 0) return;
  if (sight.low < row - shape.window) sight.low = row - shape.window;
  if (sight.high > row + shape.window + 1) sight.high = row + shape.window + 1;
}

// The keys that query `row` sees; none: low = high. Neither falls from row to row.
LF_DEVICE Sight keysOf(const AttentionShape& shape, int32_t row) {
  Sight sight = sequenceSight(shape, row);
  sight.high = keyEnd(shape, sight);
  narrowToWindow(shape, row, sight);
  if (sight.high < sight.low) sight.high = sight.low;
  return sight;
}

// The same for the queries that see key `row`.
LF_DEVICE Sight queriesOf(const AttentionShape& shape, int32_t row) {
  Sight sight = sequenceSight(shape, row);
  const bool seen = row < keyEnd(shape, sight);
  narrowToWindow(shape, row, sight);
  if (!seen) sight.low = sight.high;
  return sight;
}

// Four words of dropout of one query: keys 4 · block … 4 · block + 3, counted from the start of the sequence. Bit i:
// key i is kept.
LF_DEVICE uint32_t keptBits(const AttentionShape& shape, uint32_t key0, uint32_t key1, uint32_t block, uint32_t query,
                            uint32_t head) {
  const Philox4 draw = philox(key0, key1, block, query, shape.site, head + 1);
  uint32_t bits = 0;
  for (int i = 0; i < 4; ++i) bits |= static_cast<uint32_t>(draw.word[i] >= shape.threshold) << i;
  return bits;
}

}  // namespace lateforge::cuda
