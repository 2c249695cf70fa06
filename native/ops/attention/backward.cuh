// Attention backward on tensor cores: one kernel whose blocks own queries and one whose blocks own keys, so that every
// output has one owner and no sum depends on timing. Both compute the weights again from the log-sum-exp.
//   P = exp(S − lse), dS = P ∘ (dP − along), along = ⟨dO, O⟩; P̃ and dP after dropout
//   dQ = dS K · scale, dK = dSᵀ Q · scale, dV = P̃ᵀ dO
#pragma once

#include "tile.cuh"

namespace lateforge::cuda::flash {

// dQ; leaves along and shift, lse in powers of two (+∞ where it was −∞: no weight), in statistics. A block per 64
// queries and head (fastest), 16 queries a warp.
template <class T, int d, bool drops>
struct BackwardQueries {
  static constexpr int kThreads = flash::kThreads, kMinBlocks = kBlocks<d, drops>;
  using Rows = Tile<T, d>;
  BackwardOperands<T> x;

  static constexpr int64_t sharedBytes() { return 6 * Rows::bytes(); }

  LF_DEVICE void operator()() const {
    SharedMemory memory;
    const Rows queries{memory.take<T>(kRows * d)}, ups{memory.take<T>(kRows * d)};
    const Shared<T> ring = memory.take<T>(4 * kRows * d);  // two stages of keys and values
    auto keys = [&](int stage) { return Rows{ring + stage * 2 * kRows * d}; };
    auto values = [&](int stage) { return Rows{ring + (stage * 2 + 1) * kRows * d}; };
    const auto head = static_cast<int32_t>(blockX() % x.shape.heads);
    const auto first = static_cast<int32_t>(blockX() / x.shape.heads) * kRows;
    const int64_t width = x.shape.width(), plane = int64_t{x.shape.heads} * d, column = int64_t{head} * d;
    const Dev<const T> q = x.qkv + column, k = q + plane, v = k + plane;
    queries.template load<false>(q, width, first, first, x.shape.rows);
    ups.template load<false>(x.dO + column, plane, first, first, x.shape.rows);
    const Own own = ownRows<drops>(x.shape, first, [](const AttentionShape& s, int32_t row) { return keysOf(s, row); });
    const int32_t start = own.firstStreamed(drops);
    auto stream = [&](int32_t key, int stage) {
      keys(stage).template load<true>(k, width, key, own.blockLow, own.blockHigh);
      values(stage).template load<true>(v, width, key, own.blockLow, own.blockHigh);
    };
    if (start < own.blockHigh) stream(start, 0);
    commitCopies();

    const Statistics own16 = rowStatistics(own, head);
    float along[2], shift[2];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      along[i] = shuffle(own16.along, lane() / 4 + 8 * i);
      shift[i] = shuffle(own16.shift, lane() / 4 + 8 * i);
    }
    FragmentA query[d / 16], up[d / 16];
    FragmentC dq[d / 8] = {};
    int stage = 0;
    for (int32_t key = start; key < own.blockHigh; key += kRows, stage ^= 1) {
      waitCopies<0>();
      syncThreads();  // the tile is there, and nobody reads the other one any more
      if (key + kRows < own.blockHigh) stream(key + kRows, stage ^ 1);
      commitCopies();
      if (key == start)
#pragma unroll
        for (int part = 0; part < d / 16; ++part) {
          query[part] = queries.rows(warp() * 16, part);
          up[part] = ups.rows(warp() * 16, part);
        }
#pragma unroll 1
      for (int j = 0; j < 4; ++j) {
        const int32_t from = key + 16 * j;
        if (!own.sees(from)) continue;
        uint32_t kept[2] = {15, 15};
        if constexpr (drops)
#pragma unroll
          for (int i = 0; i < 2; ++i)
            kept[i] = keptKeys(x.shape, own, i, own.first + lane() / 4 + 8 * i, from + 4 * (lane() % 4), head);
        FragmentC weight[2], slope[2];
        scores<T, d>(weight, query, keys(stage), 16 * j);
        scores<T, d>(slope, up, values(stage), 16 * j);
        eachElement([&](int i, int tile, int value, int place) {
          const int32_t at = from + 4 * (lane() % 4) + place;
          float& dp = slope[tile].value[value];
          if (drops) dp = kept[i] >> place & 1 ? dp * x.shape.keep : 0;
          const float p =
              exp2Approximate(fusedMultiplyAdd(weight[tile].value[value], x.shape.scale * kLog2E, -shift[i]));
          dp = at >= own.low[i] && at < own.high[i] ? p * (dp - along[i]) : 0;
        });
        addWeighted<T, d>(dq, narrowed<T>(slope), keys(stage), 16 * j);
      }
    }
    waitCopies<0>();
    syncThreads();  // without a key: the queries have landed everywhere
    queries.store(x.dqkv + (own.first * width + column), width, warp() * 16, own.count, dq, x.shape.scale,
                  x.shape.scale);
  }

 private:
  struct Statistics {
    float along, shift;
  };

  // Of row lane % 16 of the warp; two lanes take half of the columns each.
  LF_DEVICE Statistics rowStatistics(const Own& own, int32_t head) const {
    const int row = lane() % 16, half = lane() / 16;
    const bool exists = row < own.count;
    const int32_t r = own.first + (exists ? row : 0);
    const int64_t at = (int64_t{r} * x.shape.heads + head) * d + half * (d / 2);
    Statistics s{0, infinity()};
    if (exists) {
#pragma unroll
      for (int i = 0; i < d / 2; i += 8) {
        const Pack<float, 8> up = loadFloats<8>(x.dO + (at + i)), out = loadFloats<8>(x.o + (at + i));
#pragma unroll
        for (int n = 0; n < 8; ++n) s.along += up[n] * out[n];
      }
      const float l = x.lse[int64_t{r} * x.shape.heads + head];
      if (l != -infinity()) s.shift = l * kLog2E;
    }
    s.along += shuffleXor(s.along, 16);
    if (exists && half == 0) {
      x.statistics[int64_t{head} * x.shape.rows + r] = s.along;
      x.statistics[(int64_t{x.shape.heads} + head) * x.shape.rows + r] = s.shift;
    }
    return s;
  }
};

// dK and dV. A block per 64 keys and head (fastest), 16 keys a warp.
template <class T, int d, bool drops>
struct BackwardKeys {
  static constexpr int kThreads = flash::kThreads, kMinBlocks = kBlocks<d, drops>;
  using Rows = Tile<T, d>;
  BackwardOperands<T> x;

  static constexpr int64_t sharedBytes() { return 6 * Rows::bytes() + sharedSize<float>(4 * kRows); }

  LF_DEVICE void operator()() const {
    SharedMemory memory;
    const Rows keys{memory.take<T>(kRows * d)}, values{memory.take<T>(kRows * d)};
    const Shared<T> ring = memory.take<T>(4 * kRows * d);  // two stages of queries and their gradients
    const Shared<float> numbers = memory.take<float>(4 * kRows);
    auto queries = [&](int stage) { return Rows{ring + stage * 2 * kRows * d}; };
    auto ups = [&](int stage) { return Rows{ring + (stage * 2 + 1) * kRows * d}; };
    const auto head = static_cast<int32_t>(blockX() % x.shape.heads);
    const auto first = static_cast<int32_t>(blockX() / x.shape.heads) * kRows;
    const int64_t width = x.shape.width(), plane = int64_t{x.shape.heads} * d, column = int64_t{head} * d;
    const Dev<const T> q = x.qkv + column, k = q + plane, v = k + plane;
    keys.template load<false>(k, width, first, first, x.shape.rows);
    values.template load<false>(v, width, first, first, x.shape.rows);
    const Own own =
        ownRows<drops>(x.shape, first, [](const AttentionShape& s, int32_t row) { return queriesOf(s, row); });
    const int32_t start = own.firstStreamed(drops);
    auto stream = [&](int32_t query, int stage) {
      queries(stage).template load<true>(q, width, query, own.blockLow, own.blockHigh);
      ups(stage).template load<true>(x.dO + column, plane, query, own.blockLow, own.blockHigh);
      // along for half of the lanes, shift for the others.
      const int kind = thread() / kRows, i = thread() % kRows;
      const bool valid = query + i >= own.blockLow && query + i < own.blockHigh;
      copyAsync<4>(numbers + (stage * 2 * kRows + thread()),
                   Dev<const float>(x.statistics) + ((int64_t{kind} * x.shape.heads + head) * x.shape.rows + query + i),
                   valid);
    };
    if (start < own.blockHigh) stream(start, 0);
    commitCopies();

    FragmentA key[d / 16], value[d / 16];
    FragmentC dk[d / 8] = {}, dv[d / 8] = {};
    int stage = 0;
    for (int32_t query = start; query < own.blockHigh; query += kRows, stage ^= 1) {
      waitCopies<0>();
      syncThreads();  // the tile is there, and nobody reads the other one any more
      if (query + kRows < own.blockHigh) stream(query + kRows, stage ^ 1);
      commitCopies();
      if (query == start)
#pragma unroll
        for (int part = 0; part < d / 16; ++part) {
          key[part] = keys.rows(warp() * 16, part);
          value[part] = values.rows(warp() * 16, part);
        }
#pragma unroll 1
      for (int j = 0; j < 4; ++j) {
        const int32_t from = query + 16 * j;
        if (!own.sees(from)) continue;
        uint32_t kept[2] = {15, 15};
        if constexpr (drops) keptQueries(kept, own, from, head);
        FragmentC weight[2], slope[2];
        scores<T, d>(weight, key, queries(stage), 16 * j);
        scores<T, d>(slope, value, ups(stage), 16 * j);
        const Shared<float> four = numbers + (stage * 2 * kRows + 16 * j + 4 * (lane() % 4));
        const Pack<float, 4> along = *recast<Pack<float, 4>>(four), shift = *recast<Pack<float, 4>>(four + kRows);
        eachElement([&](int i, int tile, int at, int place) {
          const int32_t other = from + 4 * (lane() % 4) + place;
          float &p = weight[tile].value[at], &dp = slope[tile].value[at];
          const bool seen = other >= own.low[i] && other < own.high[i];
          p = seen ? exp2Approximate(fusedMultiplyAdd(p, x.shape.scale * kLog2E, -shift[place])) : 0;
          const bool keeps = !drops || kept[i] >> place & 1;
          dp = seen ? p * ((keeps ? dp * (drops ? x.shape.keep : 1) : 0) - along[place]) : 0;
          if (!keeps) p = 0;
        });
        addWeighted<T, d>(dv, narrowed<T>(weight), ups(stage), 16 * j);
        addWeighted<T, d>(dk, narrowed<T>(slope), queries(stage), 16 * j);
      }
    }
    waitCopies<0>();
    syncThreads();  // without a query: the keys have landed everywhere
    const Dev<T> to = x.dqkv + (own.first * width + plane + column);
    keys.store(to, width, warp() * 16, own.count, dk, x.shape.scale, x.shape.scale);
    values.store(to + plane, width, warp() * 16, own.count, dv, x.shape.keep, x.shape.keep);
  }

 private:
  // Bit i of kept[half]: query `query` + 4 (lane % 4) + i keeps the key of the lane's row.
  LF_DEVICE void keptQueries(uint32_t (&kept)[2], const Own& own, int32_t query, int32_t head) const {
    if (own.together) return shareQueries(kept, own, query, head);
    for (int half = 0; half < 2; ++half) {
      const int32_t k = own.first + lane() / 4 + 8 * half - own.begin[half];
      const int32_t q = query + 4 * (lane() % 4) - own.begin[half];
      kept[half] = 0;
#pragma unroll 1
      for (int i = 0; i < 4; ++i) kept[half] |= (blockOf(own, half, k >> 2, q + i, head) >> (k & 3) & 1) << i;
    }
  }

  // The same when the warp's 16 keys are of one sequence. They lie in at most five blocks of Philox, so the eight lanes
  // that look at the same four queries need 20 draws together: lane g makes draws g, g + 8 and g + 16.
  LF_DEVICE void shareQueries(uint32_t (&kept)[2], const Own& own, int32_t query, int32_t head) const {
    const int g = lane() / 4, t = lane() % 4;
    const int32_t firstKey = own.first - own.begin[0], skew = firstKey & 3, q = query + 4 * t - own.begin[0];
    uint32_t mine = 0;
#pragma unroll 1
    for (int n = 0; n < (skew ? 3 : 2); ++n)
      mine |= blockOf(own, 0, (firstKey >> 2) + 2 * n + g / 4, q + g % 4, head) << (4 * n);
    kept[0] = kept[1] = 0;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int draw = (g + skew) / 4 * 4 + i;  // of key g; that of key g + 8 is eight further
      const uint32_t bits = shuffle(mine, draw % 8 * 4 + t) >> (draw / 8 * 4 + (g + skew) % 4);
      kept[0] |= (bits & 1) << i;
      kept[1] |= (bits >> 4 & 1) << i;
    }
  }

  LF_DEVICE uint32_t blockOf(const Own& own, int half, int32_t block, int32_t query, int32_t head) const {
    return keptBits(x.shape, own.key0[half], own.key1[half], static_cast<uint32_t>(block), static_cast<uint32_t>(query),
                    static_cast<uint32_t>(head));
  }
};

}  // namespace lateforge::cuda::flash
