// Functions of numbers, vectors of memory, bits and indices of device/, against the host's own arithmetic: inputs are
// random bits, so that subnormals, infinities and NaN take part.
#pragma once

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "../../../native/cuda/device/async.cuh"
#include "../../../native/cuda/device/atomic.cuh"
#include "../../../native/cuda/device/math.cuh"
#include "../../../native/cuda/device/mma.cuh"
#include "device.h"

namespace lateforge::testing {

using namespace lateforge::cuda;

inline bool same(float a, float b) {
  return std::bit_cast<uint32_t>(a) == std::bit_cast<uint32_t>(b) || (a != a && b != b);
}

// Half of them of ordinary size, half of any bits.
inline std::vector<float> anyFloats(size_t count) {
  std::normal_distribution<float> normal(0, 4);
  std::vector<float> all(count);
  for (size_t i = 0; i < count; ++i)
    all[i] = i % 2 ? normal(generator()) : std::bit_cast<float>(static_cast<uint32_t>(generator()()));
  const float special[] = {0.0f,       -0.0f, INFINITY, -INFINITY, NAN,    0x1p-149f,
                           -0x1p-126f, 1.0f,  126.0f,   -126.5f,   -150.0f};
  for (size_t i = 0; i < std::size(special) && i < count; ++i) all[i] = special[i];
  return all;
}

struct Functions {
  static constexpr int kThreads = 256, kMinBlocks = 1, kCount = 18;
  Dev<const float> a, b, c;
  Dev<float> y;  // [kCount][count]
  int64_t count;
  LF_DEVICE void operator()() const {
    const int64_t i = blockX() * kThreads + thread();
    if (i >= count) return;
    const float x = a[i], z = b[i], w = c[i];
    const float results[kCount] = {exponential(x),
                                   logarithm(x),
                                   squareRoot(x),
                                   hyperbolicTangent(x),
                                   normalCdf(x),
                                   exp2Approximate(x),
                                   sigmoid(x),
                                   finite(x) ? 1.0f : 0.0f,
                                   product(x, z) + w,  // rounded in between
                                   fusedMultiplyAdd(x, z, w),
                                   maximum(x, z),
                                   larger(x, z),
                                   minimum(x, z),
                                   x / z,
                                   static_cast<float>(squareRoot(static_cast<double>(x))),
                                   static_cast<float>(exponential(static_cast<double>(x))),
                                   static_cast<float>(logarithm(static_cast<double>(x))),
                                   static_cast<float>(product(static_cast<double>(x), static_cast<double>(z)))};
    for (int k = 0; k < kCount; ++k) y[k * count + i] = results[k];
  }
};

inline void functions() {
  const size_t n = 1 << 16;
  const std::vector<float> x = anyFloats(n), z = anyFloats(n), w = anyFloats(n);
  const Buffer<float> a(x), b(z), c(w), output(n * Functions::kCount);
  const auto count = static_cast<int64_t>(n);
  run({divideUp(count, 256)}, 0,
      Functions{a.dev<const float>(), b.dev<const float>(), c.dev<const float>(), output.dev(), count});
  const std::vector<float> y = output.values();
  // Within `units` of the last place of float32, subnormals included, or as exact as `slack` allows.
  auto near = [](float got, double want, double units, double slack = 0) {
    if (std::isnan(want)) return std::isnan(got);
    if (std::isinf(static_cast<float>(want)))
      return got == static_cast<float>(want) || std::abs(want - got) < 0x1p106 * units;
    const double unit = std::max(std::ldexp(std::abs(want), -23), 0x1p-149);
    return std::abs(got - want) <= units * unit + slack;
  };
  auto biggest = [](float p, float q) { return std::isnan(p) || std::isnan(q) ? NAN : std::max(p, q); };
  for (size_t i = 0; i < n; ++i) {
    auto result = [&](size_t k) { return y[k * n + i]; };
    const double v = x[i], u = z[i];
    CHECK(near(result(0), std::exp(v), 2), "exp(%a) is %a", v, result(0));
    CHECK(near(result(1), std::log(v), 2), "log(%a) is %a", v, result(1));
    CHECK(same(result(2), std::sqrt(x[i])), "sqrt(%a) is %a", v, result(2));
    CHECK(near(result(3), std::tanh(v), 4), "tanh(%a) is %a", v, result(3));
    CHECK(near(result(4), std::erfc(-v * std::sqrt(0.5)) / 2, 8 + 2 * v * v), "Φ(%a) is %a", v, result(4));
    const double power = std::exp2(v);
    CHECK(near(result(5), power, 4, power < 0x1p-125 ? 0x1p-126 : 0), "2^%a is %a", v, result(5));
    CHECK(std::isnan(v) || power >= 0x1p-126 || result(5) == 0 || result(5) == 0x1p-126f, "2^%a is no 0: %a", v,
          result(5));
    CHECK(near(result(6), 1 / (1 + std::exp(-v)), 6, 0x1p-126), "sigmoid(%a) is %a", v, result(6));
    CHECK(result(7) == (std::isfinite(x[i]) ? 1.0f : 0.0f), "finite(%a)", v);
    const float rounded = static_cast<float>(v * u);
    CHECK(same(result(8), rounded + w[i]), "%a · %a + %a, rounded twice, is %a", v, u, w[i], result(8));
    CHECK(same(result(9), std::fma(x[i], z[i], w[i])), "%a · %a + %a is %a", v, u, w[i], result(9));
    CHECK(result(10) == biggest(x[i], z[i]) || (std::isnan(biggest(x[i], z[i])) && std::isnan(result(10))),
          "maximum(%a, %a) is %a", v, u, result(10));
    CHECK(same(result(11) + 0.0f, std::fmax(x[i], z[i]) + 0.0f), "larger(%a, %a) is %a", v, u, result(11));
    const float least = -biggest(-x[i], -z[i]);
    CHECK(result(12) == least || (std::isnan(least) && std::isnan(result(12))), "minimum(%a, %a) is %a", v, u,
          result(12));
    CHECK(same(result(13), x[i] / z[i]), "%a / %a is %a", v, u, result(13));
    CHECK(near(result(14), std::sqrt(v), 1) && near(result(15), std::exp(v), 1) && near(result(16), std::log(v), 1),
          "float64 of %a: %a, %a, %a", v, result(14), result(15), result(16));
    CHECK(same(result(17), rounded), "%a · %a in float64 is %a", v, u, result(17));
  }
}

// Word i: two numbers narrowed together, and one by one.
template <class T>
struct Pairs {
  static constexpr int kThreads = 256, kMinBlocks = 1;
  Dev<const float> x;
  Dev<uint32_t> y;  // [2][count]
  int64_t count;
  LF_DEVICE void operator()() const {
    const int64_t i = blockX() * kThreads + thread();
    if (i >= count) return;
    const float low = x[i], high = x[count - 1 - i];
    y[i] = packPair<T>(low, high);
    y[count + i] = narrow<T>(low).bits | static_cast<uint32_t>(narrow<T>(high).bits) << 16;
  }
};

template <class T>
void pairs(const char* name) {
  const size_t n = 1 << 14;
  const std::vector<float> values = anyFloats(n);
  const Buffer<float> x(values);
  const Buffer<uint32_t> y(2 * n);
  run({divideUp(static_cast<int64_t>(n), 256)}, 0, Pairs<T>{x.dev<const float>(), y.dev(), static_cast<int64_t>(n)});
  const std::vector<uint32_t> got = y.values();
  for (size_t i = 0; i < n; ++i)
    CHECK(got[i] == got[n + i], "%s: %a and %a are packed as %08x, not %08x", name, values[i], values[n - 1 - i],
          got[i], got[n + i]);
}

// Pack i of n elements of T goes to the mirrored place, its elements turned round.
template <class T, int n>
struct Mirror {
  static constexpr int kThreads = 64, kMinBlocks = 1;
  Dev<const T> x;
  Dev<T> y;
  LF_DEVICE void operator()() const {
    Pack<T, n> p = loadPack<n>(x + thread() * n), q;
    for (int k = 0; k < n; ++k) q[k] = p[n - 1 - k];
    storePack<n>(y + (kThreads - 1 - thread()) * n, q);
  }
};

template <class T, int n>
void mirror() {
  std::vector<T> values(size_t{64 * n});
  for (T& v : values) v = static_cast<T>(number(0, 100));
  const Buffer<T> x(values), y(values.size());
  run({1}, 0, Mirror<T, n>{x.template dev<const T>(), y.dev()});
  const std::vector<T> got = y.values();
  for (size_t i = 0; i < got.size(); ++i)
    CHECK(got[i] == values[got.size() - 1 - i], "packs of %d of %zu bytes, element %zu", n, sizeof(T), i);
}

// Bits, wide exchanges, indices of blocks, the lowest of many values.
struct Integers {
  static constexpr int kThreads = 64, kMinBlocks = 1;
  Dev<const uint32_t> x;
  Dev<int64_t> y;  // [6][blocks · 64]
  Dev<uint64_t> lowest;
  int64_t count;
  LF_DEVICE void operator()() const {
    const int64_t block = (blockZ() * 2 + blockY()) * gridX() + blockX(), i = block * kThreads + thread();
    const uint32_t v = x[i];
    y[i] = countBits(v) * 100 + (v ? lowestBit(v) : 99);
    y[count + i] = shuffle(static_cast<int64_t>(v) << 20, (lane() + 7) % kWarp);
    y[2 * count + i] = shuffleXor(static_cast<int32_t>(v), 16);
    y[3 * count + i] = static_cast<int64_t>(warpSum(static_cast<double>(v)));
    y[4 * count + i] = warpMax(v);
    SharedMemory shared;
    Shared<int32_t> bytes = shared.take<int32_t>(3), words = shared.take<int32_t>(kThreads);
    if (thread() < 3) bytes[thread()] = -1;
    words[thread()] = static_cast<int32_t>(v);
    syncWarp();
    y[5 * count + i] = words[thread() ^ 1];  // of the same warp
    atomicMinimum(lowest, (uint64_t{v} << 32) + static_cast<uint64_t>(i));
  }
};

inline void integers() {
  const size_t blocks = 3 * 2 * 2, n = blocks * 64;
  std::vector<uint32_t> x(n);
  for (uint32_t& v : x) v = static_cast<uint32_t>(generator()()) & static_cast<uint32_t>(generator()());
  const Buffer<uint32_t> input(x);
  const Buffer<int64_t> output(6 * n);
  underOrders([&] {
    const Buffer<uint64_t> lowest(std::vector<uint64_t>{~uint64_t{0}});
    run({3, 2, 2}, sharedSize<int32_t>(3) + sharedSize<int32_t>(64),
        Integers{input.dev<const uint32_t>(), output.dev(), lowest.dev(), static_cast<int64_t>(n)});
    const std::vector<int64_t> y = output.values();
    uint64_t least = ~uint64_t{0};
    for (size_t i = 0; i < n; ++i) {
      const size_t first = i / 32 * 32, l = i % 32;
      int64_t sum = 0, most = 0;
      for (size_t k = first; k < first + 32; ++k) {
        sum += x[k];
        most = std::max<int64_t>(most, x[k]);
      }
      least = std::min(least, (uint64_t{x[i]} << 32) + i);
      CHECK(y[i] == std::popcount(x[i]) * 100 + (x[i] ? std::countr_zero(x[i]) : 99), "bits of %08x", x[i]);
      CHECK(y[n + i] == static_cast<int64_t>(x[first + (l + 7) % 32]) << 20, "shuffle of 8 bytes at %zu", i);
      CHECK(y[2 * n + i] == static_cast<int32_t>(x[first + (l ^ 16)]), "shuffleXor at %zu", i);
      CHECK(y[3 * n + i] == sum && y[4 * n + i] == most, "warpSum of doubles, warpMax of integers at %zu", i);
      CHECK(y[5 * n + i] == static_cast<int32_t>(x[i ^ 1]), "what a neighbour wrote before syncWarp at %zu", i);
    }
    CHECK(lowest.values()[0] == least, "the lowest of all");
  });
}

// Matrices of one, and of two turned; a product of any numbers, next to one of ordinary size.
template <class T>
struct Fragments {
  static constexpr int kThreads = 32, kMinBlocks = 1;
  Dev<const T> a, b;    // [16, 16] twice, [16, 8] twice
  Dev<uint32_t> words;  // [4][32]
  Dev<float> c;         // [2][16, 8]
  LF_DEVICE void operator()() const {
    SharedMemory shared;
    Shared<T> tile = shared.take<T>(16 * 8);
    for (int i = thread(); i < 128; i += kThreads) tile[i] = b[i];
    syncThreads();
    uint32_t one[1], two[2];
    loadMatrix<1>(one, tile + lane() % 8 * 8);
    words[lane()] = one[0];
    loadMatrix<1, true>(one, tile + lane() % 8 * 8);
    words[32 + lane()] = one[0];
    loadMatrix<2, true>(two, tile + lane() % 16 * 8);
    words[64 + lane()] = two[0];
    words[96 + lane()] = two[1];
    const int g = lane() / 4, t = lane() % 4;
    for (int which = 0; which < 2; ++which) {
      FragmentA fa;
      FragmentB fb;
      for (int w = 0; w < 4; ++w) {
        const int at = which * 256 + (g + 8 * (w % 2)) * 16 + 2 * t + 8 * (w / 2);
        fa.word[w] = a[at].bits | static_cast<uint32_t>(a[at + 1].bits) << 16;
      }
      for (int w = 0; w < 2; ++w) {
        const int at = which * 128 + (2 * t + 8 * w) * 8 + g;
        fb.word[w] = b[at].bits | static_cast<uint32_t>(b[at + 8].bits) << 16;
      }
      FragmentC fc{};
      mma<T>(fc, fa, fb);
      for (int i = 0; i < 4; ++i) c[which * 128 + (g + 8 * (i / 2)) * 8 + 2 * t + i % 2] = fc.value[i];
    }
  }
};

// `valueOf` of 16 bits. The first product is of ordinary numbers; in the second, rows of A have one number of any bits
// and zeros, and B is 1 in that row: what comes out is the number itself, subnormals and NaN too.
template <class T>
void fragments(const char* name, double (*valueOf)(uint32_t, int), int exponentBits, uint16_t one) {
  std::vector<T> a(512), b(256);
  auto ordinary = [&] {
    for (;;) {
      const auto bits = static_cast<uint16_t>(generator()());
      const double v = std::abs(valueOf(bits, exponentBits));
      if (v > 0x1p-6 && v < 0x1p6) return T{bits};
    }
  };
  for (size_t i = 0; i < 256; ++i) a[i] = ordinary();
  for (size_t i = 0; i < 128; ++i) b[i] = ordinary();
  size_t place[16];
  for (size_t r = 0; r < 16; ++r) {
    place[r] = static_cast<size_t>(number(0, 15));
    a[256 + r * 16 + place[r]] = T{static_cast<uint16_t>(generator()())};
  }
  for (size_t i = 128; i < 256; ++i) b[i] = T{one};
  const Buffer<T> left(a), right(b);
  const Buffer<uint32_t> output(size_t{128});
  const Buffer<float> sums(size_t{256});
  run({1}, sharedSize<T>(128),
      Fragments<T>{left.template dev<const T>(), right.template dev<const T>(), output.dev(), sums.dev()});
  const std::vector<uint32_t> words = output.values();
  const std::vector<float> c = sums.values();
  auto pairOf = [&](size_t low, size_t high) { return b[low].bits | static_cast<uint32_t>(b[high].bits) << 16; };
  for (size_t l = 0; l < 32; ++l) {
    const size_t g = l / 4, t = l % 4;
    CHECK(words[l] == pairOf(g * 8 + 2 * t, g * 8 + 2 * t + 1), "%s loadMatrix<1> of lane %zu", name, l);
    for (size_t m = 0; m < 2; ++m) {
      const uint32_t turned = pairOf((8 * m + 2 * t) * 8 + g, (8 * m + 2 * t + 1) * 8 + g);
      CHECK(words[64 + 32 * m + l] == turned, "%s loadMatrix<2, true> %zu of lane %zu", name, m, l);
      if (m == 0) CHECK(words[32 + l] == turned, "%s loadMatrix<1, true> of lane %zu", name, l);
    }
  }
  for (size_t r = 0; r < 16; ++r)
    for (size_t n = 0; n < 8; ++n) {
      double want = 0, size = 0;
      for (size_t k = 0; k < 16; ++k) {
        const double x = valueOf(a[r * 16 + k].bits, exponentBits) * valueOf(b[k * 8 + n].bits, exponentBits);
        want += x;
        size += std::abs(x);
      }
      CHECK(std::abs(c[r * 8 + n] - want) <= 0x1p-18 * size, "%s mma at (%zu, %zu): %g, not %g", name, r, n,
            c[r * 8 + n], want);
      const double any = valueOf(a[256 + r * 16 + place[r]].bits, exponentBits);
      const float got = c[128 + r * 8 + n];
      const bool tiny = std::abs(any) < 0x1p-126 && got == 0;  // what PTX leaves open
      CHECK(std::isnan(any) ? std::isnan(got) : got == any || tiny, "%s mma of %g alone: %g", name, any, got);
    }
}

// Zeros where the source is not valid, wherever it points.
struct Nowhere {
  static constexpr int kThreads = 32, kMinBlocks = 1;
  Dev<const float> x;
  Dev<float> y;
  LF_DEVICE void operator()() const {
    SharedMemory shared;
    Shared<float> tile = shared.take<float>(kThreads * 4);
    copyAsync<16>(tile + thread() * 4, x + (thread() % 2 ? thread() * 4 : int64_t{1} << 42), thread() % 2 == 1);
    commitCopies();
    waitCopies<0>();
    for (int k = 0; k < 4; ++k) y[thread() * 4 + k] = tile[thread() * 4 + k];
  }
};

inline void nowhere() {
  const Buffer<float> x(std::vector<float>(128, 3)), y(size_t{128});
  run({1}, sharedSize<float>(128), Nowhere{x.dev<const float>(), y.dev()});
  const std::vector<float> got = y.values();
  for (size_t i = 0; i < 128; ++i) CHECK(got[i] == (i / 4 % 2 ? 3 : 0), "copyAsync from nowhere, %zu: %g", i, got[i]);
}

}  // namespace lateforge::testing
