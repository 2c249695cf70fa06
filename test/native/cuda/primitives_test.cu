// Every device primitive against plain loops on the host: conversions exhaustively, exchanges, reductions, matrix
// fragments, asynchronous copies. In the host emulation under many orders, with equal bits.
#include <bit>
#include <cmath>

#include "../../../native/cuda/device/async.cuh"
#include "../../../native/cuda/device/block.cuh"
#include "../../../native/cuda/device/mma.cuh"
#include "device.h"
#include "primitives_numbers.h"

using namespace lateforge;
using namespace lateforge::cuda;
using namespace lateforge::testing;

namespace {

template <class T>
struct Widen {
  static constexpr int kThreads = 256, kMinBlocks = 1;
  Dev<float> y;
  LF_DEVICE void operator()() const {
    const int64_t i = blockX() * kThreads + thread();
    y[i] = widen(T{static_cast<uint16_t>(i)});
  }
};

template <class T>
struct Narrow {
  static constexpr int kThreads = 256, kMinBlocks = 1;
  Dev<const float> x;
  Dev<uint16_t> y;
  int64_t count;
  LF_DEVICE void operator()() const {
    const int64_t i = blockX() * kThreads + thread();
    if (i < count) y[i] = narrow<T>(x[i]).bits;
  }
};

double valueOf(uint32_t bits, int exponentBits) {
  const int fractionBits = 15 - exponentBits, bias = (1 << (exponentBits - 1)) - 1;
  const int exponent = static_cast<int>(bits >> fractionBits & ((1u << exponentBits) - 1));
  const double fraction = std::ldexp(static_cast<double>(bits & ((1u << fractionBits) - 1)), -fractionBits);
  const double sign = bits >> 15 ? -1 : 1;
  if (exponent == (1 << exponentBits) - 1) return fraction == 0 ? sign * INFINITY : NAN;
  return sign * (exponent ? std::ldexp(1 + fraction, exponent - bias) : std::ldexp(fraction, 1 - bias));
}

template <class T>
void conversions(const char* name, int exponentBits) {
  Buffer<float> wide(size_t{1} << 16);
  run({256}, 0, Widen<T>{wide.dev()});
  const std::vector<float> values = wide.values();
  std::vector<float> inputs;
  std::vector<uint16_t> wanted;
  for (uint32_t bits = 0; bits < 1u << 16; ++bits) {
    const double want = valueOf(bits, exponentBits);
    const float got = values[bits];
    CHECK(std::isnan(want) ? std::isnan(got) : got == want && std::signbit(got) == std::signbit(want),
          "%s %04x widens to %g, not %g", name, bits, got, want);
    inputs.push_back(got);
    wanted.push_back(std::isnan(got) ? 0x7fff : static_cast<uint16_t>(bits));
    // Half way to the next number goes to the even one, everything else to the nearest. Beyond the largest number the
    // next one would be a power of two.
    if (!std::isfinite(want)) continue;
    const double next = valueOf(bits + 1, exponentBits), below = valueOf(bits - 1, exponentBits);
    const float middle = static_cast<float>(std::isfinite(next) ? (want + next) / 2 : want + (want - below) / 2);
    const auto low = static_cast<uint16_t>(bits), high = static_cast<uint16_t>(bits + 1);
    inputs.insert(inputs.end(), {middle, std::nextafter(middle, 0.0f), std::nextafter(middle, middle * INFINITY)});
    wanted.insert(wanted.end(), {bits % 2 ? high : low, low, high});
  }
  Buffer<float> x(inputs);
  Buffer<uint16_t> y(inputs.size());
  const auto count = static_cast<int64_t>(inputs.size());
  run({divideUp(count, 256)}, 0, Narrow<T>{x.dev<const float>(), y.dev(), count});
  const std::vector<uint16_t> got = y.values();
  for (size_t i = 0; i < got.size(); ++i)
    CHECK(got[i] == wanted[i], "%s: %a narrows to %04x, not %04x", name, inputs[i], got[i], wanted[i]);
}

struct Exchange {
  static constexpr int kThreads = 64, kMinBlocks = 1;
  Dev<const float> x;
  Dev<float> y;  // [6][blocks · 64]
  Dev<uint32_t> votes;
  int64_t count;
  LF_DEVICE void operator()() const {
    const int64_t i = blockX() * kThreads + thread();
    const float v = x[i];
    y[i] = shuffle(v, 3);
    y[count + i] = shuffleXor(v, 5);
    y[2 * count + i] = shuffleUp(v, 2);
    y[3 * count + i] = warpSum(v);
    y[4 * count + i] = warpMax(v);
    SharedMemory shared;
    Shared<float> scratch = shared.take<float>(kThreads / kWarp);
    y[5 * count + i] = blockSum<kThreads>(v, scratch) + blockMax<kThreads>(v, scratch);
    votes[i] = cuda::ballot(v > 0);
  }
};

void exchanges() {
  const int64_t blocks = number(1, 5), count = 64 * blocks;
  std::vector<float> x(static_cast<size_t>(count));
  for (float& v : x) v = std::normal_distribution<float>()(generator());
  if (number(0, 1)) x[static_cast<size_t>(number(0, count - 1))] = NAN;
  const Buffer<float> input(x), output(x.size() * 6);
  const Buffer<uint32_t> votes(x.size());
  auto sumOf = [&](size_t first) {  // the butterfly
    std::vector<float> v(x.begin() + static_cast<long>(first), x.begin() + static_cast<long>(first) + 32);
    for (size_t mask = 16; mask; mask /= 2) {
      const std::vector<float> before = v;
      for (size_t l = 0; l < 32; ++l) v[l] = before[l] + before[l ^ mask];
    }
    return v[0];
  };
  auto maxOf = [&](size_t first, size_t size) {
    float most = x[first];
    for (size_t l = 0; l < size; ++l) most = x[first + l] > most || std::isnan(x[first + l]) ? x[first + l] : most;
    for (size_t l = 0; l < size; ++l)
      if (std::isnan(x[first + l])) most = NAN;
    return most;
  };
  auto equal = [](float a, float b) { return a == b || (std::isnan(a) && std::isnan(b)); };
  underOrders([&] {
    run({blocks}, sharedSize<float>(2), Exchange{input.dev<const float>(), output.dev(), votes.dev(), count});
    const std::vector<float> y = output.values();
    const std::vector<uint32_t> vote = votes.values();
    const auto n = static_cast<size_t>(count);
    for (size_t i = 0; i < n; ++i) {
      const size_t l = i % 32, first = i - l, block = i - i % 64;
      CHECK(equal(y[i], x[first + 3]), "shuffle at %zu", i);
      CHECK(equal(y[n + i], x[first + (l ^ 5)]), "shuffleXor at %zu", i);
      CHECK(equal(y[2 * n + i], x[l >= 2 ? i - 2 : i]), "shuffleUp at %zu", i);
      CHECK(equal(y[3 * n + i], sumOf(first)), "warpSum at %zu: %g %g", i, y[3 * n + i], sumOf(first));
      CHECK(equal(y[4 * n + i], maxOf(first, 32)), "warpMax at %zu", i);
      CHECK(equal(y[5 * n + i], (sumOf(block) + sumOf(block + 32)) + maxOf(block, 64)), "blockSum, blockMax at %zu", i);
      CHECK((vote[i] >> l & 1) == (x[i] > 0), "ballot at %zu", i);
    }
  });
}

// C [16, 8] = A [16, 16] B [16, 8], three ways: words gathered one by one, by loadMatrix from A and B^T, and by
// transposed loads of A^T and B.
template <class T>
struct Multiply {
  static constexpr int kThreads = 32, kMinBlocks = 1, kRow = 24;  // rows of 48 bytes: no bank conflicts
  Dev<const T> a, b;                                              // [16, 16], [16, 8]
  Dev<float> c;                                                   // [3][16, 8]
  LF_DEVICE void operator()() const {
    SharedMemory shared;
    Shared<T> aRows = shared.take<T>(16 * kRow), bColumns = shared.take<T>(8 * kRow);
    Shared<T> aColumns = shared.take<T>(16 * kRow), bRows = shared.take<T>(16 * kRow);
    for (int i = thread(); i < 256; i += kThreads) {
      aRows[i / 16 * kRow + i % 16] = a[i];
      aColumns[i % 16 * kRow + i / 16] = a[i];
    }
    for (int i = thread(); i < 128; i += kThreads) {
      bRows[i / 8 * kRow + i % 8] = b[i];
      bColumns[i % 8 * kRow + i / 8] = b[i];
    }
    syncThreads();
    const int g = lane() / 4, t = lane() % 4;
    FragmentA fa;
    FragmentB fb;
    for (int w = 0; w < 4; ++w) {
      const int at = (g + 8 * (w % 2)) * 16 + 2 * t + 8 * (w / 2);
      fa.word[w] = a[at].bits | static_cast<uint32_t>(a[at + 1].bits) << 16;
    }
    for (int w = 0; w < 2; ++w) {
      const int at = (2 * t + 8 * w) * 8 + g;
      fb.word[w] = b[at].bits | static_cast<uint32_t>(b[at + 8].bits) << 16;
    }
    store(fa, fb, 0);
    // Matrix m of A: rows 8 (m % 2) …, columns 8 (m / 2) …; of B: rows 8 m ….
    const int m = lane() / 8, r = lane() % 8;
    loadMatrix<4>(fa.word, aRows + ((r + 8 * (m % 2)) * kRow + 8 * (m / 2)));
    loadMatrix<2>(fb.word, bColumns + (r * kRow + 8 * (m % 2)));
    store(fa, fb, 1);
    loadMatrix<4, true>(fa.word, aColumns + ((r + 8 * (m / 2)) * kRow + 8 * (m % 2)));
    loadMatrix<2, true>(fb.word, bRows + (r + 8 * (m % 2)) * kRow);
    store(fa, fb, 2);
  }
  LF_DEVICE void store(const FragmentA& fa, const FragmentB& fb, int which) const {
    FragmentC fc{{1, 1, 1, 1}};
    mma<T>(fc, fa, fb);
    for (int i = 0; i < 4; ++i)
      c[which * 128 + (lane() / 4 + 8 * (i / 2)) * 8 + 2 * (lane() % 4) + i % 2] = fc.value[i];
  }
};

template <class T>
void matrices(const char* name, uint16_t (*bitsOfInteger)(int)) {
  std::vector<int> a(256), b(128);
  for (int& v : a) v = static_cast<int>(number(-8, 8));
  for (int& v : b) v = static_cast<int>(number(-8, 8));
  auto bits = [&](const std::vector<int>& v) {
    std::vector<T> all;
    for (int x : v) all.push_back(T{bitsOfInteger(x)});
    return all;
  };
  const Buffer<T> left(bits(a)), right(bits(b));
  const Buffer<float> output(size_t{3 * 128});
  constexpr int kRow = Multiply<T>::kRow;
  underOrders([&] {
    run({1}, 3 * sharedSize<T>(16 * kRow) + sharedSize<T>(8 * kRow),
        Multiply<T>{left.template dev<const T>(), right.template dev<const T>(), output.dev()});
    const std::vector<float> c = output.values();
    for (size_t i = 0; i < 384; ++i) {
      int want = 1;
      for (size_t k = 0; k < 16; ++k) want += a[i % 128 / 8 * 16 + k] * b[k * 8 + i % 8];
      CHECK(c[i] == static_cast<float>(want), "%s mma way %zu at (%zu, %zu): %g, not %d", name, i / 128, i % 128 / 8,
            i % 8, c[i], want);
    }
#ifndef __CUDACC__
    CHECK(host::takeConflicts() == 0, "rows of 48 bytes lie in different banks");
#endif
  });
}

uint16_t bf16Of(int x) { return static_cast<uint16_t>(std::bit_cast<uint32_t>(static_cast<float>(x)) >> 16); }
uint16_t f16Of(int x) {
  if (x == 0) return 0;
  const int exponent = std::ilogb(std::abs(x));
  const int fraction = static_cast<int>(std::ldexp(std::abs(x), 10 - exponent)) - 1024;
  return static_cast<uint16_t>((x < 0) << 15 | (exponent + 15) << 10 | fraction);
}

// Streams rows of x through a ring of three stages, `bytes` at a time; rows beyond the end arrive as zeros.
template <int bytes>
struct Pipeline {
  static constexpr int kThreads = 64, kMinBlocks = 1, kStages = 3, kEach = bytes / 4;
  Dev<const float> x;
  Dev<float> y;
  int tiles;
  int64_t count;
  LF_DEVICE void operator()() const {
    constexpr int kTile = kThreads * kEach;
    SharedMemory shared;
    Shared<float> ring = shared.take<float>(kStages * kTile);
    for (int tile = 0; tile < tiles + kStages - 1; ++tile) {
      if (tile < tiles) {
        const int64_t from = static_cast<int64_t>(tile) * kTile + thread() * kEach;
        copyAsync<bytes>(ring + (tile % kStages * kTile + thread() * kEach), x + (from < count ? from : 0),
                         from < count);
      }
      commitCopies();
      const int ready = tile - (kStages - 1);
      if (ready >= 0) {
        waitCopies<kStages - 1>();
        syncThreads();
        // Reads what another lane's copy brought.
        for (int i = 0; i < kEach; ++i) {
          const int at = (kThreads - 1 - thread()) * kEach + i;
          y[static_cast<int64_t>(ready) * kTile + at] = ring[ready % kStages * kTile + at];
        }
        syncThreads();
      }
    }
    waitCopies<0>();
  }
};

template <int bytes>
void pipeline() {
  using Kernel = Pipeline<bytes>;
  constexpr int64_t kTile = Kernel::kThreads * Kernel::kEach;
  const int tiles = static_cast<int>(number(1, 7));
  const int64_t count = number(1, tiles * kTile / Kernel::kEach) * Kernel::kEach;
  std::vector<float> x(static_cast<size_t>(count));
  for (float& v : x) v = static_cast<float>(number(1, 1000));
  const Buffer<float> input(x), output(static_cast<size_t>(tiles * kTile));
  underOrders([&] {
    run({1}, sharedSize<float>(Kernel::kStages * kTile), Kernel{input.dev<const float>(), output.dev(), tiles, count});
    const std::vector<float> y = output.values();
    for (size_t i = 0; i < y.size(); ++i)
      CHECK(y[i] == (i < x.size() ? x[i] : 0), "copyAsync<%d> of %zu: %g", bytes, i, y[i]);
  });
}

}  // namespace

int main(int argc, char** argv) {
  return runSuites("primitives", argc, argv,
                   {{"conversions",
                     [] {
                       conversions<Bf16>("bfloat16", 8);
                       conversions<F16>("float16", 5);
                     }},
                    {"exchanges", exchanges},
                    {"matrices",
                     [] {
                       matrices<Bf16>("bfloat16", bf16Of);
                       matrices<F16>("float16", f16Of);
                       fragments<Bf16>("bfloat16", valueOf, 8, 0x3f80);
                       fragments<F16>("float16", valueOf, 5, 0x3c00);
                     }},
                    {"pipelines",
                     [] {
                       pipeline<4>();
                       pipeline<8>();
                       pipeline<16>();
                     }},
                    {"functions", functions},
                    {"packs",
                     [] {
                       pairs<Bf16>("bfloat16");
                       pairs<F16>("float16");
                       mirror<uint8_t, 16>();
                       mirror<uint16_t, 8>();
                       mirror<uint16_t, 2>();
                       mirror<float, 4>();
                       mirror<float, 2>();
                       mirror<double, 2>();
                     }},
                    {"integers", integers},
                    {"nowhere", nowhere}});  // the last: a device that reads there is lost
}
