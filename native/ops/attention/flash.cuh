// Attention forward on tensor cores, as in FlashAttention-2 (Dao, 2023): scores live in registers, the softmax is
// carried from tile to tile of keys.
#pragma once

#include "tile.cuh"

namespace lateforge::cuda::flash {

// A block per 64 rows and head (fastest), 16 rows a warp.
template <class T, int d, bool drops>
struct Forward {
  static constexpr int kThreads = flash::kThreads, kMinBlocks = kBlocks<d, drops>;
  using Rows = Tile<T, d>;
  ForwardOperands<T> x;

  static constexpr int64_t sharedBytes() { return 5 * Rows::bytes(); }

  LF_DEVICE void operator()() const {
    SharedMemory memory;
    const Rows queries{memory.take<T>(kRows * d)};
    const Shared<T> ring = memory.take<T>(4 * kRows * d);  // two stages of keys and values
    auto keys = [&](int stage) { return Rows{ring + stage * 2 * kRows * d}; };
    auto values = [&](int stage) { return Rows{ring + (stage * 2 + 1) * kRows * d}; };
    const auto head = static_cast<int32_t>(blockX() % x.shape.heads);
    const auto first = static_cast<int32_t>(blockX() / x.shape.heads) * kRows;
    const int64_t width = x.shape.width(), plane = int64_t{x.shape.heads} * d;
    const Dev<const T> q = x.qkv + int64_t{head} * d, k = q + plane, v = k + plane;
    queries.template load<false>(q, width, first, first, x.shape.rows);
    const Own own = ownRows<drops>(x.shape, first, [](const AttentionShape& s, int32_t row) { return keysOf(s, row); });
    const int32_t start = own.firstStreamed(drops);
    auto stream = [&](int32_t key, int stage) {
      keys(stage).template load<true>(k, width, key, own.blockLow, own.blockHigh);
      values(stage).template load<true>(v, width, key, own.blockLow, own.blockHigh);
    };

    Sums sums;
    FragmentA query[d / 16];
    if (start < own.blockHigh) stream(start, 0);
    commitCopies();
    int stage = 0;
    for (int32_t key = start; key < own.blockHigh; key += kRows, stage ^= 1) {
      waitCopies<0>();
      syncThreads();  // the tile is there, and nobody reads the other one any more
      if (key + kRows < own.blockHigh) stream(key + kRows, stage ^ 1);
      commitCopies();
      if (key == start)
#pragma unroll
        for (int part = 0; part < d / 16; ++part) query[part] = queries.rows(warp() * 16, part);
      addTile(sums, own, query, keys(stage), values(stage), key, head);
    }
    waitCopies<0>();
    syncThreads();  // without a key: the queries have landed everywhere

    float by[2];
    const int g = lane() / 4;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const float total = sums.total[i] + shuffleXor(sums.total[i], 1), all = total + shuffleXor(total, 2);
      by[i] = all == 0 ? 0 : x.shape.keep / all;
      if (lane() % 4 == 0 && g + 8 * i < own.count)
        x.lse[int64_t{own.first + g + 8 * i} * x.shape.heads + head] =
            all == 0 ? -infinity() : sums.top[i] * x.shape.scale + logarithm(all);
    }
    queries.store(x.o + (own.first * plane + int64_t{head} * d), plane, warp() * 16, own.count, sums.o, by[0], by[1]);
  }

 private:
  // Of the lane's two rows: the largest score, the sum of weights over the lane's keys, the weighted sum of values.
  struct Sums {
    float top[2] = {-infinity(), -infinity()}, total[2] = {};
    FragmentC o[d / 8] = {};
  };

  LF_DEVICE void addTile(Sums& sums, const Own& own, const FragmentA (&query)[d / 16], const Rows& keys,
                         const Rows& values, int32_t key, int32_t head) const {
    if (key >= own.high16 || key + kRows <= own.low16) return;
    uint32_t kept[2] = {};  // four bits for each of the four groups of keys
    if constexpr (drops)
#pragma unroll 1
      for (int j = 0; j < 4; ++j)
        if (own.sees(key + 16 * j))
#pragma unroll
          for (int i = 0; i < 2; ++i)
            kept[i] |= keptKeys(x.shape, own, i, own.first + lane() / 4 + 8 * i, key + 16 * j + 4 * (lane() % 4), head)
                       << (4 * j);
    FragmentC score[4][2];
    float top[2] = {sums.top[0], sums.top[1]};
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const int32_t from = key + 16 * j;
      if (!own.sees(from)) continue;
      scores<T, d>(score[j], query, keys, 16 * j);
      if (!own.seesAll(from))
        eachElement([&](int i, int tile, int value, int place) {
          const int32_t at = from + 4 * (lane() % 4) + place;
          if (at < own.low[i] || at >= own.high[i]) score[j][tile].value[value] = -infinity();
        });
      eachElement([&](int i, int tile, int value, int) { top[i] = larger(top[i], score[j][tile].value[value]); });
    }
    const float unit = x.shape.scale * kLog2E;
    float from[2];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      top[i] = larger(top[i], shuffleXor(top[i], 1));
      top[i] = larger(top[i], shuffleXor(top[i], 2));
      from[i] = top[i] == -infinity() ? 0 : top[i] * unit;
      const float shrink = exp2Approximate(fusedMultiplyAdd(sums.top[i], unit, -from[i]));
      sums.top[i] = top[i];
      sums.total[i] *= shrink;
#pragma unroll
      for (int n = 0; n < d / 8; ++n) {
        sums.o[n].value[2 * i] *= shrink;
        sums.o[n].value[2 * i + 1] *= shrink;
      }
    }
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      if (!own.sees(key + 16 * j)) continue;
      eachElement([&](int i, int tile, int value, int place) {
        float& weight = score[j][tile].value[value];
        weight = exp2Approximate(fusedMultiplyAdd(weight, unit, -from[i]));
        sums.total[i] += weight;
        if (drops && !(kept[i] >> (4 * j + place) & 1)) weight = 0;
      });
      addWeighted<T, d>(sums.o, narrowed<T>(score[j]), values, 16 * j);
    }
  }
};

}  // namespace lateforge::cuda::flash
