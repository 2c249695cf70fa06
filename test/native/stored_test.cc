// MaxSim of documents as they are stored, float16, int8 or residual codes, against that of the numbers they stand for.
#include <algorithm>
#include <limits>

#include "maxsim.h"

namespace lateforge::testing {
namespace {

// What a float16 says, by its definition.
double valueOf(uint16_t half) {
  const int exponent = half >> 10 & 31, fraction = half & 1023;
  const double magnitude = exponent ? std::ldexp(1024 + fraction, exponent - 25) : std::ldexp(fraction, -24);
  return half & 0x8000 ? -magnitude : magnitude;
}

// What 15 bits of a query's rows may cost a score at most: half of the last of each number, times a token's numbers.
double wholeError(const Problem& p) {
  const int64_t dim = p.q.meta.dims[1];
  double largest = 0, token = 0;
  for (int64_t k = 0; k < p.q.meta.count(); ++k) largest = std::max<double>(largest, std::abs(p.q.as<float>()[k]));
  for (int64_t row = 0; row < p.d.meta.dims[0]; ++row) {
    double sum = 0;
    for (int64_t k = 0; k < dim; ++k) sum += std::abs(p.d.as<float>()[row * dim + k]);
    token = std::max(token, sum);
  }
  return 37 * token * largest * (0.5 / 32767 + 1e-6);
}

// Documents as they are stored give the bits of the numbers they stand for, but for int8 with floats.
template <class T>
void stored(const cpu::Isa& isa, std::mt19937& rng) {
  for (const int64_t dim : {8, 40, 128})
    for (const Layout layout : {Layout::all, Layout::grouped, Layout::pairs})
      for (const bool clampNegatives : {false, true})
        for (const bool bytes : {false, true}) {
          const std::vector<int64_t> list = layout == Layout::all       ? std::vector<int64_t>{}
                                            : layout == Layout::grouped ? std::vector<int64_t>{0, 2, 2, 6}
                                                                        : std::vector<int64_t>{1, 0, 0, 3, 2, 2, 1, 5};
          Problem p = problem<T>({3, 0, 37}, {1, 1, 0, 31, 7, 19}, dim, layout, rng, list);
          p.clampNegatives = clampNegatives;
          const int64_t rows = 59;
          Tensor scales = random<T>({rows}, rng);
          std::vector<int8_t> eights(static_cast<size_t>(rows * dim));
          std::vector<uint16_t> halves(eights.size());
          for (size_t k = 0; k < eights.size(); ++k) {
            eights[k] = static_cast<int8_t>(rng());
            halves[k] = static_cast<uint16_t>(rng() & 0xbfff);  // finite: exponents below 16; some subnormal
            if (k % 7 == 0) halves[k] &= 0x83ff;
            p.d.as<T>()[k] = bytes ? static_cast<T>(eights[k]) * scales.as<T>()[k / static_cast<size_t>(dim)]
                                   : static_cast<T>(valueOf(halves[k]));
          }
          const Tensor want = forward<T>(isa, p, false)[0];
          Tensor d = bytes ? make<int8_t>({rows, dim}, eights) : make<uint16_t>({rows, dim}, halves), none;
          d.meta.dtype = bytes ? DType::i8 : DType::f16;
          const params::maxsimStored params{static_cast<int64_t>(layout), clampNegatives};
          const auto got = run(tableOf<T>(isa), Op::maxsimStored, params,
                               {&p.q, &p.qSegments, &d, &p.dSegments, &p.pairs, bytes ? &scales : &none});
          // Floats with int8 are multiplied in whole numbers, of which a row of queries has 15 bits.
          const double allowed = bytes && std::is_same_v<T, float> ? wholeError(p) : 0;
          const Tensor& found = got[0];
          for (int64_t i = 0; i < want.meta.count(); ++i) {
            const double here = found.as<T>()[i], there = want.as<T>()[i];
            CHECK(std::abs(here - there) <= allowed, "%s: %s, dim %d, layout %d: %g instead of %g", isa.name,
                  bytes ? "int8" : "float16", (int)dim, (int)layout, here, there);
          }
        }
}

#ifndef LF_EMULATION
// Whole numbers of 15 bits are exact, at the largest sums there can be too; what is not finite stays so.
void whole(const cpu::Isa& isa, std::mt19937& rng) {
  for (const int64_t dim : {8, 128, 512, 1024}) {
    const int64_t most = std::min<int64_t>(32767, ((int64_t{1} << 31) - 1) / (128 * dim));
    Problem p = problem<float>({2, 35}, {1, 1, 1, 40, 3}, dim, Layout::all, rng, {});
    std::vector<int8_t> eights(static_cast<size_t>(46 * dim));
    for (int8_t& eight : eights) eight = static_cast<int8_t>(rng());
    std::fill_n(eights.begin() + dim, dim, int8_t{-128});
    for (int64_t k = 0; k < 37 * dim; ++k) {
      const int64_t number = static_cast<int64_t>(rng() % (2 * most + 1)) - most;
      p.q.as<float>()[k] = static_cast<float>(k % dim == 0 || k < 2 * dim ? (k < dim ? most : -most) : number);
    }
    Tensor scales = make<float>({46}, std::vector<float>(46, 0.5f)), d = make<int8_t>({46, dim}, eights);
    const auto scores = [&] {
      return run(tableOf<float>(isa), Op::maxsimStored, params::maxsimStored{},
                 {&p.q, &p.qSegments, &d, &p.dSegments, &p.pairs, &scales})[0];
    };
    const Tensor got = scores();
    const int64_t offsets[] = {0, 1, 2, 3, 43, 46}, rows[] = {0, 2, 37};
    for (int64_t i = 0; i < 2; ++i)
      for (int64_t j = 0; j < 5; ++j) {
        double want = 0;
        for (int64_t r = rows[i]; r < rows[i + 1]; ++r) {
          int64_t best = std::numeric_limits<int64_t>::min();
          for (int64_t t = offsets[j]; t < offsets[j + 1]; ++t) {
            int64_t sum = 0;
            for (int64_t k = 0; k < dim; ++k)
              sum += static_cast<int64_t>(p.q.as<float>()[r * dim + k]) * eights[t * dim + k];
            best = std::max(best, sum);
          }
          want += static_cast<double>(best) / 2;
        }
        const double found = got.as<float>()[i * 5 + j];
        CHECK(std::abs(found - want) <= 1e-6 * std::abs(want) + 35 * 64, "%s: whole, dim %d: %g instead of %g",
              isa.name, (int)dim, found, want);
      }
    p.q.as<float>()[3] = std::numeric_limits<float>::quiet_NaN();
    p.q.as<float>()[2 * dim] = std::numeric_limits<float>::infinity();
    scales.as<float>()[45] = std::numeric_limits<float>::quiet_NaN();
    const Tensor odd = scores();
    for (int64_t j = 0; j < 5; ++j) {
      CHECK(std::isnan(odd.as<float>()[j]), "%s: NaN of a query vanished", isa.name);
      CHECK(!std::isfinite(odd.as<float>()[5 + j]), "%s: infinity of a query vanished", isa.name);
    }
    CHECK(std::isnan(odd.as<float>()[9]), "%s: NaN of a scale vanished", isa.name);
  }
}

// Documents as residual codes give the bits of the numbers they stand for; what is of no centroid is all zeros. All
// numbers are small and whole, or halves of such, so that nothing is rounded.
template <class T>
void residual(const cpu::Isa& isa, std::mt19937& rng) {
  const auto below = [&](uint32_t n) { return static_cast<int64_t>(rng() % n); };
  for (const int64_t dim : {8, 40, 128})
    for (const Layout layout : {Layout::all, Layout::pairs})
      for (const int bits : {2, 4}) {
        Problem p = problem<T>(
            {3, 0, 37}, {1, 1, 0, 31, 7, 19}, dim, layout, rng,
            layout == Layout::all ? std::vector<int64_t>{} : std::vector<int64_t>{1, 0, 0, 3, 2, 2, 1, 5, 2, 4});
        const int64_t rows = 59, count = 5, each = 8 / bits;
        std::vector<T> levels, factors;
        for (int64_t i = 0; i < 1 << bits; ++i) levels.push_back(static_cast<T>(i - 2));
        for (int64_t i = 0; i < count; ++i) factors.push_back(static_cast<T>(1 << below(3)));
        std::vector<int8_t> centers(static_cast<size_t>(count * dim));
        for (int8_t& center : centers) center = static_cast<int8_t>(rng());
        std::vector<uint8_t> bytes(static_cast<size_t>(rows * dim / each));
        for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(rng());
        std::vector<uint16_t> halves;
        std::vector<int32_t> owners;
        constexpr uint16_t kHalves[] = {0x3800, 0x3c00, 0x4000, 0};  // 1/2, 1, 2, 0
        for (int64_t row = 0; row < rows; ++row) {
          halves.push_back(kHalves[below(4)]);
          owners.push_back(static_cast<int32_t>(below(7)) - 1);  // −1 and 5 are not there
          for (int64_t k = 0; k < dim; ++k) {
            const int64_t code = bytes[(row * dim + k) / each] >> k % each * bits & ((1 << bits) - 1),
                          own = owners[row];
            p.d.as<T>()[row * dim + k] = own < 0 || own >= count
                                             ? T{0}
                                             : levels[code] * static_cast<T>(valueOf(halves[row])) +
                                                   static_cast<T>(centers[own * dim + k]) * factors[own];
          }
        }
        const Tensor want = forward<T>(isa, p, false)[0];
        Tensor codes = make<uint8_t>({rows, dim / each}, bytes), scales = make<uint16_t>({rows}, halves),
               of = make<int32_t>({rows}, owners), centroids = make<int8_t>({count, dim}, centers),
               by = make<T>({count}, factors), table = make<T>({1 << bits}, levels);
        scales.meta.dtype = DType::f16;
        const auto got =
            run(tableOf<T>(isa), Op::maxsimResidual, params::maxsimResidual{static_cast<int64_t>(layout), 0},
                {&p.q, &p.qSegments, &codes, &p.dSegments, &p.pairs, &scales, &of, &centroids, &by, &table});
        CHECK(got[0].bytes == want.bytes, "%s: residual codes of %d bits, dim %d, layout %d", isa.name, bits, (int)dim,
              (int)layout);
        const auto decoded = run(tableOf<T>(isa), Op::decodeResidual, params::decodeResidual{},
                                 {&codes, &scales, &of, &centroids, &by, &table});
        CHECK(decoded[0].bytes == p.d.bytes, "%s: decoded codes of %d bits, dim %d", isa.name, bits, (int)dim);
      }
}
#endif

}  // namespace
}  // namespace lateforge::testing

int main() {
  using namespace lateforge::testing;
  return onEveryIsa("stored", [](const lateforge::cpu::Isa& isa, std::mt19937& rng) {
    stored<float>(isa, rng);
    stored<double>(isa, rng);
#ifndef LF_EMULATION  // the CPU's alone
    whole(isa, rng);
    residual<float>(isa, rng);
    residual<double>(isa, rng);
#endif
  });
}
