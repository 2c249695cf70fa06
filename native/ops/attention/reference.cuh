// The reference kernels of attention, for every head dim and type: a lane makes kColumns outputs of one row and
// head, and looks at its keys (or queries) one by one. Numbers are loaded n at a time.
#pragma once

#include "../../cuda/device/math.cuh"
#include "../../cuda/device/thread.cuh"
#include "cuda.cuh"

namespace lateforge::cuda::reference_attention {

constexpr int kColumns = 16;

// Which outputs a lane makes: columns [first, first + count) of a row and head.
struct Part {
  int32_t row, head, first, count;
};

template <int threads>
LF_DEVICE bool partOf(const AttentionShape& shape, Part& part) {
  const int64_t chunks = (shape.headDim + kColumns - 1) / kColumns, all = chunks * shape.heads;
  const int64_t i = blockX() * threads + thread();
  if (i >= all * shape.rows) return false;
  part.row = static_cast<int32_t>(i / all);
  part.head = static_cast<int32_t>(i % all / chunks);
  part.first = static_cast<int32_t>(i % chunks) * kColumns;
  part.count = shape.headDim - part.first < kColumns ? shape.headDim - part.first : kColumns;
  return true;
}

// ⟨a, b⟩ of a, b [d].
template <int n, class T>
LF_DEVICE float dotProduct(Dev<const T> a, Dev<const T> b, int32_t d) {
  float sum = 0;
  for (int32_t i = 0; i < d; i += n) {
    const Pack<float, n> x = loadFloats<n>(a + i), y = loadFloats<n>(b + i);
    for (int k = 0; k < n; ++k) sum += x[k] * y[k];
  }
  return sum;
}

// sum += by · x [count], for the columns of a part.
template <int n, class T>
LF_DEVICE void addScaled(float (&sum)[kColumns], Dev<const T> x, float by, int32_t count) {
#pragma unroll
  for (int32_t i = 0; i < kColumns; i += n)
    if (i < count) {
      const Pack<float, n> v = loadFloats<n>(x + i);
      for (int k = 0; k < n; ++k) sum[i + k] += by * v[k];
    }
}

template <class T>
LF_DEVICE void storeScaled(Dev<T> y, const float (&sum)[kColumns], float by, int32_t count) {
#pragma unroll
  for (int32_t i = 0; i < kColumns; ++i)
    if (i < count) y[i] = narrow<T>(sum[i] * by);
}

// What dropout multiplies the weight of a key with: 0 or keep.
LF_DEVICE float dropFactor(const AttentionShape& shape, const Sight& sight, int32_t query, int32_t key, int32_t head) {
  if (!shape.seeds) return 1;
  const auto k = static_cast<uint32_t>(key - sight.begin);
  const uint32_t bits = keptBits(shape, shape.seeds[2 * sight.sequence], shape.seeds[2 * sight.sequence + 1], k / 4,
                                 static_cast<uint32_t>(query - sight.begin), static_cast<uint32_t>(head));
  return bits >> (k % 4) & 1 ? shape.keep : 0;
}

// What is taken off the scores of a query; a query without keys has weights of 0.
LF_DEVICE float shiftOf(float lse) { return lse == -infinity() ? infinity() : lse; }

// A thread per part of a query and head.
template <class T, int n>
struct Forward {
  static constexpr int kThreads = 128, kMinBlocks = 2;
  ForwardOperands<T> x;

  LF_DEVICE void operator()() const {
    Part part;
    if (!partOf<kThreads>(x.shape, part)) return;
    const int64_t d = x.shape.headDim, width = x.shape.width(), plane = x.shape.heads * d;
    const Dev<const T> q = x.qkv + (part.row * width + part.head * d);
    const Sight sight = keysOf(x.shape, part.row);
    float top = -infinity(), total = 0, sum[kColumns] = {};
    for (int32_t key = sight.low; key < sight.high; ++key) {
      const Dev<const T> k = x.qkv + (key * width + plane + part.head * d);
      const float score = dotProduct<n>(q, k, x.shape.headDim) * x.shape.scale;
      const float best = maximum(score, top);
      if (best != top) {  // also when it is NaN
        const float shrink = top == -infinity() ? 0 : exponential(top - best);
        total *= shrink;
        for (float& v : sum) v *= shrink;
        top = best;
      }
      const float weight = exponential(score - (top == -infinity() ? 0 : top));
      total += weight;
      addScaled<n>(sum, k + (plane + part.first), weight * dropFactor(x.shape, sight, part.row, key, part.head),
                   part.count);
    }
    storeScaled(x.o + (part.row * plane + part.head * d + part.first), sum, total == 0 ? 0.0f : 1 / total, part.count);
    if (part.first == 0)
      x.lse[int64_t{part.row} * x.shape.heads + part.head] = total == 0 ? -infinity() : top + logarithm(total);
  }
};

// dQ; leaves ⟨dO, O⟩ in the first half of statistics. A thread per part of a query and head.
template <class T, int n>
struct BackwardQueries {
  static constexpr int kThreads = 128, kMinBlocks = 2;
  BackwardOperands<T> x;

  LF_DEVICE void operator()() const {
    Part part;
    if (!partOf<kThreads>(x.shape, part)) return;
    const int64_t d = x.shape.headDim, width = x.shape.width(), plane = x.shape.heads * d;
    const Dev<const T> q = x.qkv + (part.row * width + part.head * d);
    const Dev<const T> up = x.dO + (part.row * plane + part.head * d);
    const float product = dotProduct<n>(up, x.o + (part.row * plane + part.head * d), x.shape.headDim);
    if (part.first == 0) x.statistics[int64_t{part.head} * x.shape.rows + part.row] = product;
    const float from = shiftOf(x.lse[int64_t{part.row} * x.shape.heads + part.head]);
    const Sight sight = keysOf(x.shape, part.row);
    float sum[kColumns] = {};
    for (int32_t key = sight.low; key < sight.high; ++key) {
      const Dev<const T> k = x.qkv + (key * width + plane + part.head * d);
      const float weight = exponential(dotProduct<n>(q, k, x.shape.headDim) * x.shape.scale - from);
      const float slope =
          dotProduct<n>(up, k + plane, x.shape.headDim) * dropFactor(x.shape, sight, part.row, key, part.head);
      addScaled<n>(sum, k + part.first, weight * (slope - product), part.count);
    }
    storeScaled(x.dqkv + (part.row * width + part.head * d + part.first), sum, x.shape.scale, part.count);
  }
};

// dK and dV. A thread per part of a key and head.
template <class T, int n>
struct BackwardKeys {
  static constexpr int kThreads = 128, kMinBlocks = 2;
  BackwardOperands<T> x;

  LF_DEVICE void operator()() const {
    Part part;
    if (!partOf<kThreads>(x.shape, part)) return;
    const int64_t d = x.shape.headDim, width = x.shape.width(), plane = x.shape.heads * d;
    const Dev<const T> k = x.qkv + (part.row * width + plane + part.head * d);
    const Sight sight = queriesOf(x.shape, part.row);
    float keySum[kColumns] = {}, valueSum[kColumns] = {};
    for (int32_t query = sight.low; query < sight.high; ++query) {
      const Dev<const T> q = x.qkv + (query * width + part.head * d), up = x.dO + (query * plane + part.head * d);
      const float weight = exponential(dotProduct<n>(q, k, x.shape.headDim) * x.shape.scale -
                                       shiftOf(x.lse[int64_t{query} * x.shape.heads + part.head]));
      const float factor = dropFactor(x.shape, sight, query, part.row, part.head);
      const float slope = dotProduct<n>(up, k + plane, x.shape.headDim) * factor;
      addScaled<n>(keySum, q + part.first, weight * (slope - x.statistics[int64_t{part.head} * x.shape.rows + query]),
                   part.count);
      addScaled<n>(valueSum, up + part.first, weight * factor, part.count);
    }
    const Dev<T> dk = x.dqkv + (part.row * width + plane + part.head * d + part.first);
    storeScaled(dk, keySum, x.shape.scale, part.count);
    storeScaled(dk + plane, valueSum, 1.0f, part.count);
  }
};

}  // namespace lateforge::cuda::reference_attention
