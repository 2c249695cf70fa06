// gemm.h: cuBLASLt on a GPU, loops in the host emulation. Small integers must come out exactly, whatever the order of
// the sums; real numbers within rounding, and with the same bits when asked again.
#include <bit>
#include <cmath>
#include <cstring>

#include "../../../native/cuda/device/number.cuh"
#include "../../../native/cuda/gemm.h"
#include "device.h"

using namespace lateforge;
using namespace lateforge::cuda;
using namespace lateforge::testing;

namespace {

// Conversions of the host: those in number.cuh are the device's under nvcc.
float widened(uint16_t bits, DType type) {
  if (type == DType::bf16) return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
  const int exponent = bits >> 10 & 31;
  const float fraction = static_cast<float>(bits & 1023) / 1024;
  const float magnitude = exponent ? std::ldexp(1 + fraction, exponent - 15) : std::ldexp(fraction, -14);
  return bits >> 15 ? -magnitude : magnitude;
}
// Cut, not rounded, and nothing below the normal range: the tests go on with what is stored.
uint16_t narrowed(float x, DType type) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  if (type == DType::bf16) return static_cast<uint16_t>(bits >> 16);
  if (std::abs(x) < 0x1p-14f) return 0;
  return static_cast<uint16_t>((bits >> 16 & 0x8000u) | ((bits >> 23 & 255) - 112) << 10 | (bits >> 13 & 1023));
}

// A matrix of any type, and what it holds as floats.
struct Matrix {
  std::vector<float> values;
  DType type;
  Buffer<uint32_t> data;

  Matrix(std::vector<float> v, DType type) : values(std::move(v)), type(type), data(pack(values, type)) {
    if (type != DType::f32)
      for (float& x : values) x = widened(narrowed(x, type), type);
  }
  static std::vector<uint32_t> pack(const std::vector<float>& v, DType type) {
    std::vector<uint32_t> words((v.size() * (type == DType::f32 ? 4 : 2) + 3) / 4 + 1);
    if (type == DType::f32) {
      if (!v.empty()) std::memcpy(words.data(), v.data(), v.size() * 4);
    } else {
      std::vector<uint16_t> half;
      for (const float x : v) half.push_back(narrowed(x, type));
      if (!half.empty()) std::memcpy(words.data(), half.data(), half.size() * 2);
    }
    return words;
  }
  void* address() const { return data.view(DType::i32, {1}).data; }
  std::vector<float> read() const {
    const std::vector<uint32_t> words = data.values();
    std::vector<float> all(values.size());
    for (size_t i = 0; i < all.size(); ++i) {
      uint16_t half;
      if (type == DType::f32) {
        std::memcpy(&all[i], words.data() + i, 4);
      } else {
        std::memcpy(&half, reinterpret_cast<const char*>(words.data()) + 2 * i, 2);
        all[i] = widened(half, type);
      }
    }
    return all;
  }
};

std::vector<float> integers(int64_t count) {
  std::vector<float> v(static_cast<size_t>(count));
  for (float& x : v) x = static_cast<float>(number(-8, 8));
  return v;
}
std::vector<float> reals(int64_t count) {
  std::normal_distribution<float> normal;
  std::vector<float> v(static_cast<size_t>(count));
  for (float& x : v) x = normal(generator());
  return v;
}

struct Shape {
  int64_t m, n, k;
};

struct Problem {
  Shape shape;
  bool transA, transB, bias, exact;
  float alpha, beta;
  DType in, out;
  int64_t spare;  // columns of C that do not belong to it
  Tokens tokens;
};

void check(const Problem& p) {
  const auto [m, n, k] = p.shape;
  const int64_t ldc = n + p.spare;
  auto draw = p.exact ? integers : reals;
  const Matrix a(draw(m * k), p.in), b(draw(k * n), p.in), bias(draw(n), p.out), start(draw(m * ldc), p.out);
  Gemm g;
  g.transA = p.transA, g.transB = p.transB;
  g.m = m, g.n = n, g.k = k;
  g.a = a.address(), g.lda = p.transA ? m : k;
  g.b = b.address(), g.ldb = p.transB ? k : n;
  g.ldc = ldc;
  g.in = p.in, g.out = p.out;
  g.alpha = p.alpha, g.beta = p.beta;
  g.bias = p.bias ? bias.address() : nullptr;
  g.tokens = p.tokens;
  std::vector<float> got[2];
  for (auto& result : got) {
    const Matrix c(start.values, p.out);
    g.c = c.address();
    char error[kErrorBytes] = "";
    Context context{testStream(), sharedLimit(), nullptr, error};
    const bool refused = gemm(context, g);
    CHECK(!refused, "[%lld, %lld, %lld]: %s", (long long)m, (long long)n, (long long)k, error);
    if (refused) return;
#ifdef __CUDACC__
    CHECK(cudaStreamSynchronize(testStream()) == cudaSuccess, "the product failed");
#endif
    result = c.read();
  }
  CHECK(got[0] == got[1], "other bits the second time");
  // Of float32 sums, and of the type they are rounded to.
  const double unit = p.out == DType::f32 ? 0 : p.out == DType::bf16 ? 1.0 / 256 : 1.0 / 2048;
  int64_t wrong = 0;
  for (int64_t i = 0; i < m; ++i)
    for (int64_t j = 0; j < ldc; ++j) {
      const auto at = static_cast<size_t>(i * ldc + j);
      double want = start.values[at], size = 0;
      if (j < n) {
        double sum = 0;
        for (int64_t l = 0; l < k; ++l) {
          const double x = a.values[static_cast<size_t>(p.transA ? l * m + i : i * k + l)];
          const double y = b.values[static_cast<size_t>(p.transB ? j * k + l : l * n + j)];
          sum += x * y;
          size += std::abs(x * y);
        }
        want = p.alpha * sum + p.beta * want + (p.bias ? bias.values[static_cast<size_t>(j)] : 0);
      }
      const double tolerance = unit * std::abs(want) + (p.exact ? 0 : 1e-6 * size + 1e-6);
      wrong += !(std::abs(got[0][at] - want) <= tolerance);
    }
  CHECK(wrong == 0, "[%lld, %lld, %lld] %d%d, %s to %s, alpha %g, beta %g: %lld elements are wrong", (long long)m,
        (long long)n, (long long)k, p.transA, p.transB, nameOf(p.in), nameOf(p.out), p.alpha, p.beta, (long long)wrong);
}

// cuBLASLt would read 16 bytes of it at once.
void refusesBias() {
  const Buffer<float> x(std::vector<float>(64, 1)), y(size_t{64});
  Gemm g;
  g.m = g.n = g.k = 4;
  g.lda = g.ldb = g.ldc = 4;
  g.a = g.b = x.view(DType::f32, {64}).data;
  g.c = y.view(DType::f32, {64}).data;
  g.bias = static_cast<const char*>(g.a) + 4;
  char error[kErrorBytes] = "";
  Context context{testStream(), sharedLimit(), nullptr, error};
  CHECK(gemm(context, g) && std::strstr(error, "16 bytes"), "a bias that is not aligned: '%s'", error);
}

const std::pair<DType, DType> types[] = {{DType::f32, DType::f32},
                                         {DType::bf16, DType::bf16},
                                         {DType::bf16, DType::f32},
                                         {DType::f16, DType::f16},
                                         {DType::f16, DType::f32}};

void forms() {
  for (const auto& [in, out] : types)
    for (const Shape shape : {Shape{1, 8, 8}, {33, 24, 40}, {128, 64, 32}, {70, 48, 136}})
      for (int form = 0; form < 4; ++form)
        for (const bool exact : {true, false})
          check({shape, form % 2 == 1, form / 2 == 1, shape.m == 33, exact, shape.m == 70 ? 0.5f : 1.0f,
                 shape.m == 128 ? 1.0f : 0.0f, in, out, shape.m == 33 ? 8 : 0, Tokens::none});
}

void tokens() {
  // What linear asks for, with numbers of tokens around the step of the table of algorithms.
  for (const int64_t tokens : {1, 7, 1000, 1024, 1025})
    for (const auto& [in, out] : types) {
      check({{tokens, 24, 16}, false, true, true, true, 1, 0, in, out, 0, Tokens::m});
      check({{tokens, 16, 24}, false, false, false, false, 1, 0, in, out, 0, Tokens::m});
      check({{24, 16, tokens}, true, false, false, true, 1, 1, in, DType::f32, 0, Tokens::k});
    }
}

void odd() {
  // float32 has no shape that is too odd; 16-bit rows must be aligned for cuBLASLt, as all of the models' are.
  check({{5, 3, 7}, false, true, true, true, 1, 0, DType::f32, DType::f32, 0, Tokens::m});
  check({{3, 7, 5}, true, false, false, true, 1, 1, DType::f32, DType::f32, 0, Tokens::k});
  check({{4, 4, 0}, true, false, false, true, 1, 1, DType::f32, DType::f32, 0, Tokens::k});
  check({{0, 4, 4}, false, true, false, true, 1, 0, DType::f32, DType::f32, 0, Tokens::m});
}

}  // namespace

int main(int argc, char** argv) {
  return runSuites("gemm", argc, argv, {{"bias", refusesBias}, {"forms", forms}, {"tokens", tokens}, {"odd", odd}});
}
