// The tensor-core attention kernels work on tiles of 64 packed rows of one head: the block's own rows, 16 to a warp,
// and the other side's, which stream through shared memory. All of it for 16-bit types and head dims 32 and 64.
//
// Within 16 rows of the streaming side, row 4t + i lies at place 2t + i (i = 0, 1) or 2t + i + 6 (i = 2, 3), so that a
// lane's four columns of two fragments C are four neighbours: one Philox block of dropout, one vector of statistics.
#pragma once

#include "../../cuda/device/async.cuh"
#include "../../cuda/device/mma.cuh"
#include "cuda.cuh"

namespace lateforge::cuda::flash {

constexpr int kRows = 64, kThreads = 128;
// Blocks on a multiprocessor, as registers allow without spills: Philox needs some.
template <int d, bool drops>
constexpr int kBlocks = d == 64 && drops ? 2 : 3;
constexpr float kLog2E = 1.44269504088896341f;

// A tile in shared memory. Chunks of 8 numbers are swizzled so that 8 rows of a chunk lie in different banks.
template <class T, int d>
struct Tile {
  static_assert(d == 32 || d == 64);
  static constexpr int kChunks = d / 8;
  static constexpr int64_t bytes() { return sharedSize<T>(kRows * d); }

  Shared<T> data;

  LF_DEVICE Shared<T> at(int row, int chunk) const {
    const int turned = chunk ^ (d == 64 ? row & 7 : row >> 1 & 3);
    return data + (row * d + turned * 8);
  }

  // Starts copying rows first … first + 63 of a matrix of `stride` numbers a row; those outside [low, high) are zeros.
  template <bool streaming>
  LF_DEVICE void load(Dev<const T> from, int64_t stride, int32_t first, int32_t low, int32_t high) const {
    constexpr int kAtOnce = kThreads / kChunks;  // rows, a multiple of 16
    const int row = thread() / kChunks, chunk = thread() % kChunks;
    const int place = streaming ? (row & ~15) + (row >> 1 & 1) * 8 + (row >> 2 & 3) * 2 + (row & 1) : row;
    const Shared<T> to = at(place, chunk);
    const Dev<const T> source = from + ((first + row) * stride + chunk * 8);
#pragma unroll
    for (int i = 0; i < kRows / kAtOnce; ++i) {
      const int32_t r = first + row + i * kAtOnce;
      copyAsync<16>(to + i * kAtOnce * d, source + i * kAtOnce * stride, r >= low && r < high);
    }
  }

  // Rows row … row + 15 as A [16, 16], columns from 16 · part.
  LF_DEVICE FragmentA rows(int row, int part) const {
    FragmentA a;
    loadMatrix<4>(a.word, at(row + lane() % 16, 2 * part + lane() / 16));
    return a;
  }
  // Two fragments B for products over columns: B [16, 8] holds columns 16 · part … of rows row … and row + 8 ….
  LF_DEVICE void acrossColumns(FragmentB (&b)[2], int row, int part) const {
    uint32_t word[4];
    loadMatrix<4>(word, at(row + lane() / 16 * 8 + lane() % 8, 2 * part + lane() / 8 % 2));
    b[0] = {{word[0], word[1]}};
    b[1] = {{word[2], word[3]}};
  }
  // Two fragments B for products over rows: B [16, 8] holds rows row … row + 15 of columns 16 · part … and + 8 ….
  LF_DEVICE void acrossRows(FragmentB (&b)[2], int row, int part) const {
    uint32_t word[4];
    loadMatrix<4, true>(word, at(row + lane() % 16, 2 * part + lane() / 16));
    b[0] = {{word[0], word[1]}};
    b[1] = {{word[2], word[3]}};
  }

  // The warp's 16 rows, from fragments C times `by` for the rows of the upper and the lower half, by way of the tile,
  // which must hold nothing any more in rows row … row + 15. `count` rows exist.
  LF_DEVICE void store(Dev<T> to, int64_t stride, int row, int32_t count, const FragmentC (&c)[kChunks], float upper,
                       float lower) const {
    const int g = lane() / 4, t = lane() % 4;
#pragma unroll
    for (int n = 0; n < kChunks; ++n) {
      *recast<uint32_t>(at(row + g, n) + 2 * t) = packPair<T>(c[n].value[0] * upper, c[n].value[1] * upper);
      *recast<uint32_t>(at(row + g + 8, n) + 2 * t) = packPair<T>(c[n].value[2] * lower, c[n].value[3] * lower);
    }
    syncWarp();
#pragma unroll
    for (int i = 0; i < 16 * kChunks / kWarp; ++i) {
      const int k = i * kWarp + lane(), r = k / kChunks, chunk = k % kChunks;
      if (r < count) storePack<8>(to + (r * stride + chunk * 8), *recast<Pack<T, 8>>(at(row + r, chunk)));
    }
  }
};

// C += A Bᵀ over the head dim for 16 own rows and the 16 rows of `tile` from `row`.
template <class T, int d>
LF_DEVICE void scores(FragmentC (&c)[2], const FragmentA (&a)[d / 16], const Tile<T, d>& tile, int row) {
  c[0] = c[1] = {};
#pragma unroll
  for (int part = 0; part < d / 16; ++part) {
    FragmentB b[2];
    tile.acrossColumns(b, row, part);
    mma<T>(c[0], a[part], b[0]);
    mma<T>(c[1], a[part], b[1]);
  }
}

// sum += A B for weights A of 16 own rows and the 16 rows of `tile` from `row`.
template <class T, int d>
LF_DEVICE void addWeighted(FragmentC (&sum)[d / 8], const FragmentA& a, const Tile<T, d>& tile, int row) {
#pragma unroll
  for (int part = 0; part < d / 16; ++part) {
    FragmentB b[2];
    tile.acrossRows(b, row, part);
    mma<T>(sum[2 * part], a, b[0]);
    mma<T>(sum[2 * part + 1], a, b[1]);
  }
}

// Fragments C of two neighbouring tiles as the fragment A of the next product: the same lanes hold the same elements.
template <class T>
LF_DEVICE FragmentA narrowed(const FragmentC (&c)[2]) {
  return {{packPair<T>(c[0].value[0], c[0].value[1]), packPair<T>(c[0].value[2], c[0].value[3]),
           packPair<T>(c[1].value[0], c[1].value[1]), packPair<T>(c[1].value[2], c[1].value[3])}};
}

// f(half, tile, value, place) for each of a lane's elements of two fragments C: the row of which half, where it is, and
// which of the lane's four columns.
template <class F>
LF_DEVICE void eachElement(const F& f) {
#pragma unroll
  for (int tile = 0; tile < 2; ++tile)
#pragma unroll
    for (int value = 0; value < 4; ++value) f(value / 2, tile, value, 2 * tile + value % 2);
}

// What the warp must know of its own rows. A lane's rows are g and g + 8 of the warp's 16; index 0 and 1.
struct Own {
  int32_t first, count;                     // the warp's first row, how many exist
  int32_t begin[2], low[2], high[2];        // of the lane's rows
  uint32_t key0[2], key1[2];                // of dropout
  int32_t low16, high16, allLow, allHigh;   // what any of the 16 rows, and what every one of them sees
  int32_t blockLow, blockHigh, blockBegin;  // what any row of the block sees; where its first sequence starts
  bool together;                            // the 16 rows are of one sequence

  // Whether any of the warp's rows sees any of 16 rows from `other`; whether every one sees all of them.
  LF_DEVICE bool sees(int32_t other) const { return other < high16 && other + 16 > low16; }
  LF_DEVICE bool seesAll(int32_t other) const { return other >= allLow && other + 16 <= allHigh; }
  // The first row the block streams. With dropout, its rows are aligned to blocks of Philox where they can be.
  LF_DEVICE int32_t firstStreamed(bool drops) const {
    if (blockLow >= blockHigh) return blockHigh;
    return drops ? blockLow - ((blockLow - blockBegin) & 3) : blockLow;
  }
};

// Sights of neighbouring rows never step back, so the first and the last row tell what all of them see.
template <bool drops, class SightOf>
LF_DEVICE Own ownRows(const AttentionShape& shape, int32_t blockFirst, const SightOf& sightOf) {
  Own own;
  own.first = blockFirst + warp() * 16;
  own.count = shape.rows - own.first;
  const int32_t wanted = lane() < 16 ? own.first + lane() : lane() == 16 ? blockFirst : blockFirst + kRows - 1;
  const Sight sight = sightOf(shape, wanted < shape.rows ? wanted : shape.rows - 1);
  own.low16 = shuffle(sight.low, 0);
  own.high16 = shuffle(sight.high, 15);
  own.allLow = shuffle(sight.low, 15);
  own.allHigh = shuffle(sight.high, 0);
  own.blockLow = shuffle(sight.low, 16);
  own.blockHigh = shuffle(sight.high, 17);
  own.blockBegin = shuffle(sight.begin, 16);
  own.together = shuffle(sight.begin, 0) == shuffle(sight.begin, 15);
  uint32_t key0 = 0, key1 = 0;
  if constexpr (drops) {
    key0 = shape.seeds[2 * sight.sequence];
    key1 = shape.seeds[2 * sight.sequence + 1];
  }
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const int from = lane() / 4 + 8 * i;
    own.low[i] = shuffle(sight.low, from);
    own.high[i] = shuffle(sight.high, from);
    own.begin[i] = drops ? shuffle(sight.begin, from) : 0;
    own.key0[i] = drops ? shuffle(key0, from) : 0;
    own.key1[i] = drops ? shuffle(key1, from) : 0;
  }
  return own;
}

// Bit i: key `key` + i is kept for `query`, both rows of the sequence of the lane's row `half`.
LF_DEVICE uint32_t keptKeys(const AttentionShape& shape, const Own& own, int half, int32_t query, int32_t key,
                            int32_t head) {
  const int32_t k = key - own.begin[half];
  uint32_t bits = 0;
#pragma unroll 1
  for (int n = 0; n < (k & 3 ? 2 : 1); ++n)
    bits |= keptBits(shape, own.key0[half], own.key1[half], static_cast<uint32_t>((k >> 2) + n),
                     static_cast<uint32_t>(query - own.begin[half]), static_cast<uint32_t>(head))
            << (4 * n);
  return bits >> (k & 3) & 15;
}

}  // namespace lateforge::cuda::flash
