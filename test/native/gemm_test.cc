// Matrix products against sums in wider precision, on every instruction set this processor has: all forms, odd shapes,
// strides, accumulation, bias, empty dimensions, bits that depend neither on threads nor on when they were counted.
#include "../../native/cpu/gemm.h"

#include <limits>
#include <utility>

#include "../../native/cpu/team.h"
#include "harness.h"

namespace lateforge::testing {
namespace {

using cpu::Factors;
using cpu::Form;
using cpu::Gemm;
using cpu::Team;

template <class T>
struct Product {
  const char* isa;
  int64_t (*workspace)(Form form, int64_t m, int64_t n, int64_t k);
  void (*run)(const Gemm<T>&, void* workspace, int64_t bytes);
  Factors factors = Factors::exact;
};

template <class T>
std::vector<Product<T>> present() {
  std::vector<Product<T>> found;
  const auto has = [](const char* isa) {
    setenv("LATEFORGE_ISA", isa, 1);
    char error[kErrorBytes];
    return cpu::chooseIsa(error) != nullptr;
  };
#if defined(__x86_64__)
  if constexpr (sizeof(T) == 4) {  // float64 has the portable kernels only
    if (has("avx512")) {
      found.push_back({"avx512", cpu::avx512::gemmWorkspace<T>, cpu::avx512::gemm<T>});
      if (cpu::bfloat16Here())
        found.push_back({"avx512 bfloat16", cpu::avx512::gemmWorkspace<T>, cpu::avx512::gemm<T>, Factors::bfloat16});
    }
    if (has("avx2")) found.push_back({"avx2", cpu::avx2::gemmWorkspace<T>, cpu::avx2::gemm<T>});
  }
#endif
  if (has("portable")) found.push_back({"portable", cpu::portable::gemmWorkspace<T>, cpu::portable::gemm<T>});
  return found;
}

const char* nameOf(Form form) { return form == Form::NT ? "NT" : form == Form::NN ? "NN" : "TN"; }

// What a product multiplies: of bfloat16 the nearest of eight bits, ties to even.
double factor(double x, Factors factors) {
  if (factors == Factors::exact) return x;
  int exponent = 0;
  const double fraction = std::frexp(x, &exponent);
  return std::ldexp(std::nearbyint(std::ldexp(fraction, 8)), exponent - 8);
}

// Operands with gaps between the rows. What lies in a gap of A or B is NaN, so that reading it shows; a gap of C holds
// `kGuard`, so that writing it shows.
template <class T>
struct Case {
  static constexpr T kGuard = T{-12345};
  Form form;
  int64_t m, n, k, lda, ldb, ldc;
  std::vector<T> a, b, c, bias;
  bool accumulate, biased;

  Case(Form form, int64_t m, int64_t n, int64_t k, int64_t gap, bool accumulate, bool biased, std::mt19937& rng)
      : form(form), m(m), n(n), k(k), accumulate(accumulate), biased(biased) {
    std::normal_distribution<double> normal;
    const auto matrix = [&](int64_t rows, int64_t columns, int64_t ld, T between) {
      std::vector<T> values(static_cast<size_t>(rows * ld), between);
      for (int64_t i = 0; i < rows; ++i)
        for (int64_t j = 0; j < columns; ++j) values[i * ld + j] = static_cast<T>(normal(rng));
      return values;
    };
    const T nan = std::numeric_limits<T>::quiet_NaN();
    const bool across = form == Form::TN, along = form == Form::NT;
    lda = (across ? m : k) + gap;
    ldb = (along ? k : n) + 2 * gap;
    ldc = n + gap;
    a = matrix(across ? k : m, across ? m : k, lda, nan);
    b = matrix(along ? n : k, along ? k : n, ldb, nan);
    c = matrix(m, n, ldc, kGuard);
    bias = matrix(1, n, n, nan);
    if (!accumulate)
      for (int64_t i = 0; i < m; ++i)
        for (int64_t j = 0; j < n; ++j) c[i * ldc + j] = nan;  // assignment must not read C
  }

  // With as many threads when the workspace is sized as when the product runs, or (0) as many as there are.
  std::vector<T> result(const Product<T>& product, int sized = 0, int running = 0) const {
    std::vector<T> out = c;
    if (sized) Team::instance().setThreads(sized);
    Bytes workspace(static_cast<size_t>(product.workspace(form, m, n, k)), 0x7f);
    if (running) Team::instance().setThreads(running);
    product.run({form, m, n, k, a.data(), lda, b.data(), ldb, out.data(), ldc, accumulate,
                 biased ? bias.data() : nullptr, product.factors},
                workspace.data(), static_cast<int64_t>(workspace.size()));
    return out;
  }

  // The largest error of an element in units of what a plain sum may lose: (k + 2) roundings of the sum of magnitudes.
  double error(const std::vector<T>& out, Factors factors) const {
    double worst = 0;
    for (int64_t i = 0; i < m; ++i) {
      for (int64_t j = 0; j < n; ++j) {
        long double sum = 0, magnitude = 0;
        const auto add = [&](long double v) { sum += v, magnitude += std::fabs(v); };
        for (int64_t p = 0; p < k; ++p)
          add(static_cast<long double>(factor(form == Form::TN ? a[p * lda + i] : a[i * lda + p], factors)) *
              factor(form == Form::NT ? b[j * ldb + p] : b[p * ldb + j], factors));
        if (accumulate) add(c[i * ldc + j]);
        if (biased) add(bias[j]);
        const long double off = std::fabs(sum - out[i * ldc + j]);
        // Sums of random terms lose about the square root of what they may lose.
        const long double unit = std::numeric_limits<T>::epsilon() * std::sqrt(static_cast<long double>(k + 2));
        const double ratio = magnitude == 0 ? (off == 0 ? 0 : 1e9) : static_cast<double>(off / (unit * magnitude));
        if (!(ratio <= worst)) worst = ratio == ratio ? ratio : 1e9;
      }
      for (int64_t j = n; j < ldc; ++j)
        if (out[i * ldc + j] != kGuard) return 1e9;
    }
    return worst;
  }
};

template <class T>
bool same(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() && (a.empty() || !std::memcmp(a.data(), b.data(), a.size() * sizeof(T)));
}

template <class T>
void products(std::mt19937& rng) {
  constexpr int64_t kSizes[] = {1, 2, 3, 7, 8, 12, 14, 15, 16, 17, 31, 32, 33, 48, 64, 65, 100, 129, 257};
  const auto size = [&] { return kSizes[rng() % (sizeof kSizes / sizeof *kSizes)]; };
  struct Shape {
    int64_t m, n, k, gap;
  };
  // Edges of every tile and of the blocks of k (32, 256, 512); rows a page apart; nothing at all.
  std::vector<Shape> shapes = {{14, 32, 256, 0},   {13, 31, 255, 1}, {15, 33, 257, 1},  {5, 9, 1023, 0},
                               {29, 40, 513, 3},   {31, 33, 800, 2}, {40, 70, 2300, 0}, {30, 20, 512, 0},
                               {30, 20, 900, 100}, {0, 5, 3, 0},     {5, 0, 3, 0},      {5, 40, 0, 0},
                               {300, 3, 2, 1}};
  for (int i = 0; i < 40; ++i) shapes.push_back({size(), size(), size(), static_cast<int64_t>(rng() % 4)});
  for (const Product<T>& p : present<T>())
    for (const Shape& s : shapes)
      for (Form form : {Form::NT, Form::NN, Form::TN}) {
        const bool accumulate = rng() & 1, biased = rng() & 1;
        const Case<T> one(form, s.m, s.n, s.k, s.gap, accumulate, biased, rng);
        const std::vector<T> alone = one.result(p, 1, 1);
        const double error = one.error(alone, p.factors);
#define WHERE                                                                                                     \
  "%s %s %s %d x %d x %d gap %d accumulate %d bias %d", p.isa, sizeof(T) == 4 ? "float" : "double", nameOf(form), \
      static_cast<int>(s.m), static_cast<int>(s.n), static_cast<int>(s.k), static_cast<int>(s.gap), accumulate, biased
        CHECK(error <= 1, WHERE);
        for (const auto& [sized, running] : {std::pair{2, 2}, {3, 3}, {1, 3}, {3, 1}})
          CHECK(same(alone, one.result(p, sized, running)), WHERE);
      }
}

// A NaN or an infinity in A reaches its row of C and no other.
void special(std::mt19937& rng) {
  for (const Product<float>& p : present<float>()) {
    Case<float> one(Form::NT, 20, 40, 50, 0, false, false, rng);
    one.a[3 * 50 + 7] = std::numeric_limits<float>::quiet_NaN();
    one.a[5 * 50 + 9] = std::numeric_limits<float>::infinity();
    const std::vector<float> out = one.result(p);
    for (int i = 0; i < 20; ++i)
      for (int j = 0; j < 40; ++j) {
        const float v = out[i * 40 + j];
        CHECK(i == 3 ? std::isnan(v) : i == 5 ? std::isinf(v) : std::isfinite(v), "%s row %d is %g", p.isa, i, v);
      }
  }
}

}  // namespace
}  // namespace lateforge::testing

int main() {
  using namespace lateforge::testing;
  std::mt19937 rng(testSeed());
  products<float>(rng);
  products<double>(rng);
  special(rng);
  return finish("gemm");
}
