// The attention kernels against the definition in double: the reference kernels to rounding in float32, the tensor-core
// ones in bfloat16 by comparison with the reference kernels in bfloat16. In the host emulation under many orders, with
// equal bits.
#include <cmath>

#include "../../../native/runtime/philox.h"
#include "attention_problem.h"

using namespace lateforge;
using namespace lateforge::testing;

namespace {

// By definition, in double.
Results reference(const Case& c, const Inputs& in) {
  const int64_t plane = c.heads * c.headDim, width = 3 * plane;
  Results r;
  r.o.assign(static_cast<size_t>(c.rows() * plane), 0);
  r.lse.assign(static_cast<size_t>(c.rows() * c.heads), -INFINITY);
  r.dqkv.assign(static_cast<size_t>(c.rows() * width), 0);
  const double scale = 1 / std::sqrt(static_cast<double>(c.headDim));
  auto dotted = [&](const double* a, const double* b) {
    double sum = 0;
    for (int64_t i = 0; i < c.headDim; ++i) sum += a[i] * b[i];
    return sum;
  };
  int64_t begin = 0;
  for (size_t s = 0; s < c.lengths.size(); begin += c.lengths[s++])
    for (int64_t h = 0; h < c.heads; ++h)
      for (int64_t q = 0; q < c.lengths[s]; ++q) {
        auto at = [&](int64_t part, int64_t row) { return (begin + row) * width + part * plane + h * c.headDim; };
        const int64_t end = c.keys.empty() ? c.lengths[s] : std::min<int64_t>(c.keys[s], c.lengths[s]);
        const int64_t first = c.window < 0 ? 0 : std::max<int64_t>(0, q - c.window);
        const int64_t last = c.window < 0 ? end : std::min(end, q + c.window + 1);
        if (first >= last) continue;
        const auto n = static_cast<size_t>(last - first);
        std::vector<double> score(n), factor(n, 1), slope(n);
        double top = -INFINITY, total = 0, along = 0;
        for (size_t i = 0; i < n; ++i) {
          const int64_t k = first + static_cast<int64_t>(i);
          score[i] = dotted(&in.qkv[at(0, q)], &in.qkv[at(1, k)]) * scale;
          top = std::max(top, score[i]);
          if (c.dropout == 0) continue;
          const Philox4 draw =
              philox(static_cast<uint32_t>(in.seeds[2 * s]), static_cast<uint32_t>(in.seeds[2 * s + 1]),
                     static_cast<uint32_t>(k / 4), static_cast<uint32_t>(q), kSite, static_cast<uint32_t>(h + 1));
          factor[i] = draw.word[k % 4] >= dropThreshold(c.dropout) ? 1 / (1 - c.dropout) : 0;
        }
        for (const double v : score) total += std::exp(v - top);
        r.lse[(begin + q) * c.heads + h] = top + std::log(total);
        const double* up = &in.dO[(begin + q) * plane + h * c.headDim];
        for (size_t i = 0; i < n; ++i) {
          score[i] = std::exp(score[i] - top) / total;
          slope[i] = factor[i] * dotted(up, &in.qkv[at(2, first + static_cast<int64_t>(i))]);
          along += score[i] * slope[i];
        }
        for (size_t i = 0; i < n; ++i) {
          const int64_t k = first + static_cast<int64_t>(i);
          const double ds = score[i] * (slope[i] - along) * scale;
          for (int64_t j = 0; j < c.headDim; ++j) {
            r.o[(begin + q) * plane + h * c.headDim + j] += score[i] * factor[i] * in.qkv[at(2, k) + j];
            r.dqkv[at(0, q) + j] += ds * in.qkv[at(1, k) + j];
            r.dqkv[at(1, k) + j] += ds * in.qkv[at(0, q) + j];
            r.dqkv[at(2, k) + j] += score[i] * factor[i] * up[j];
          }
        }
      }
  return r;
}

// Root of the mean square, and the largest, of got − want over what `keep` accepts.
struct Error {
  double root = 0, most = 0;
};
template <class Keep>
Error errorOf(const std::vector<double>& got, const std::vector<double>& want, const Keep& keep) {
  Error e;
  size_t n = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    if (!keep(i) || got[i] == want[i]) continue;  // also both −∞
    const double d = std::abs(got[i] - want[i]);
    e.root += d * d;
    if (!(d <= e.most)) e.most = d;
    ++n;
  }
  e.root = n ? std::sqrt(e.root / static_cast<double>(got.size())) : 0;
  return e;
}
template <class F>
void eachPart(const Case& c, const Results& r, const Results& want, const F& f) {
  const auto plane = static_cast<size_t>(c.heads * c.headDim);
  auto all = [](size_t) { return true; };
  f("o", errorOf(r.o, want.o, all));
  f("lse", errorOf(r.lse, want.lse, all));
  const char* names[] = {"dq", "dk", "dv"};
  for (size_t part = 0; part < 3; ++part)
    f(names[part], errorOf(r.dqkv, want.dqkv, [&](size_t i) { return i / plane % 3 == part; }));
}

void useReference(bool yes) {
  if (yes)
    setenv("LATEFORGE_CUDA_REFERENCE", "maxsim,attention", 1);
  else
    unsetenv("LATEFORGE_CUDA_REFERENCE");
}

void floats(const Case& c) {
  const Inputs in = inputsOf<float>(c);
  const Runner<float> run(c, in);
  const Results want = reference(c, in);
  run();
  eachPart(c, run.results(), want, [&](const char* what, const Error& e) {
    CHECK(e.most <= 2e-5, "%s of %s is off by %g", what, c.text().c_str(), e.most);
  });
}

// On tensor cores weights are rounded to bfloat16 before they are multiplied; the reference kernels round the results
// only, which is an error of the same size. So the error may be twice that of the reference; that of a single number
// can be larger, where large terms cancel.
void halves(const Case& c) {
  const Inputs in = inputsOf<cuda::Bf16>(c);
  const Runner<cuda::Bf16> run(c, in);
  const Results want = reference(c, in);
  useReference(true);
  run();
  std::vector<Error> allowed;
  eachPart(c, run.results(), want, [&](const char*, const Error& e) { allowed.push_back(e); });
  useReference(false);
  run();
  size_t part = 0;
  eachPart(c, run.results(), want, [&](const char* what, const Error& e) {
    const Error& a = allowed[part++];
    CHECK(e.root <= 2 * a.root + 2e-6, "%s of %s is off by %g, the reference by %g", what, c.text().c_str(), e.root,
          a.root);
    CHECK(e.most <= 8 * a.most + 1e-5, "%s of %s is off by at most %g, the reference by %g", what, c.text().c_str(),
          e.most, a.most);
  });
#ifndef __CUDACC__
  CHECK(cuda::host::takeConflicts() == 0, "ldmatrix finds its rows in different banks");
#endif
}

// Equal bits whatever the order of lanes, warps and blocks.
template <class T>
void orders(const Case& c) {
  const Runner<T> run(c, inputsOf<T>(c));
  std::vector<double> first;
  underOrders([&] {
    run();
    Results r = run.results();
    std::vector<double>& all = r.o;
    all.insert(all.end(), r.lse.begin(), r.lse.end());
    all.insert(all.end(), r.dqkv.begin(), r.dqkv.end());
    if (first.empty()) first = all;
    CHECK(all == first, "other bits in another order: %s", c.text().c_str());
  });
}

// What queries without a key give: nothing, and −∞.
void blind(const Case& c, const Results& r) {
  int64_t row = 0, found = 0;
  for (size_t s = 0; s < c.lengths.size(); row += c.lengths[s++])
    for (int64_t q = 0; q < c.lengths[s]; ++q) {
      const int64_t end = c.keys.empty() ? c.lengths[s] : std::min<int64_t>(c.keys[s], c.lengths[s]);
      if (end > 0 && (c.window < 0 || q - c.window < end)) continue;
      ++found;
      const int64_t plane = c.heads * c.headDim;
      for (int64_t i = 0; i < plane; ++i)
        CHECK(r.o[(row + q) * plane + i] == 0 && r.dqkv[(row + q) * 3 * plane + i] == 0, "row %d of %s",
              static_cast<int>(row + q), c.text().c_str());
      for (int64_t h = 0; h < c.heads; ++h)
        CHECK(r.lse[(row + q) * c.heads + h] == -INFINITY, "row %d of %s", static_cast<int>(row + q), c.text().c_str());
    }
  CHECK(found > 0, "%s has rows without keys", c.text().c_str());
}

Case drawn(int64_t headDim, int64_t window, double dropout, bool someKeys) {
  Case c{{number(1, 40), 0, 1, number(60, 200), 1, number(5, 20), 0}, {}, number(1, 2), headDim, window, dropout};
  if (someKeys) c.keys = {static_cast<int32_t>(number(0, 20)), 0, 1, static_cast<int32_t>(number(1, 60)), 0, 4, 0};
  return c;
}

void referenceFloats() {
  useReference(true);
  for (const int64_t headDim : {int64_t{32}, int64_t{64}, number(1, 40)})
    for (const int64_t window : {int64_t{-1}, int64_t{64}, number(0, 10)})
      for (const double dropout : {0.0, 0.3})
        for (const bool someKeys : {false, true}) floats(drawn(headDim, window, dropout, someKeys));
  floats({{number(512, 530)}, {}, 1, 32, 64, 0});
  orders<float>(drawn(32, 64, 0.3, true));
  const Case queries{{128, 128}, {10, 70}, 1, 32, 64, 0};
  const Inputs in = inputsOf<float>(queries);
  const Runner<float> run(queries, in);
  run();
  blind(queries, run.results());
}

void tensorCores() {
  useReference(false);
  for (const int64_t headDim : {32, 64})
    for (const int64_t window : {int64_t{-1}, int64_t{64}, number(0, 10)})
      for (const double dropout : {0.0, 0.3})
        for (const bool someKeys : {false, true}) halves(drawn(headDim, window, dropout, someKeys));
  // Tiles that end where sequences do, one row more, one less; many sequences in a tile; long ones; nothing at all.
  for (const int64_t n : {63, 64, 65, 128, 129, 193}) halves({{n, n}, {}, 1, 32, 64, 0});
  halves({std::vector<int64_t>(70, 1), {}, 2, 32, 64, 0.3});
  halves({std::vector<int64_t>(40, number(2, 7)), {}, 1, 64, -1, 0.3});
  halves({{number(512, 600)}, {}, 1, 64, -1, 0});
  halves({{number(512, 600), 33}, {}, 1, 32, 64, 0.3});
  halves({{32, 32, 32, 32, 32}, {7, 11, 32, 1, 20}, 2, 64, 64, 0});
  halves({{}, {}, 1, 32, -1, 0});
  halves({{0, 0}, {}, 1, 32, 64, 0});
  for (const int64_t headDim : {32, 64})
    for (const double dropout : {0.0, 0.3}) orders<cuda::Bf16>(drawn(headDim, 64, dropout, dropout > 0));
  const Case queries{{128, 128}, {10, 70}, 2, 64, 64, 0};
  halves(queries);
  const Inputs in = inputsOf<cuda::Bf16>(queries);
  const Runner<cuda::Bf16> run(queries, in);
  run();
  blind(queries, run.results());
}

// Every kernel once, small: for tools that are slow.
void tiny() {
  useReference(true);
  floats({{9, 0, 20}, {4, 0, 20}, 2, 32, 4, 0.3});
  useReference(false);
  for (const int64_t headDim : {32, 64}) {
    halves({{9, 0, 70}, {}, 2, headDim, -1, 0});
    halves({{9, 0, 70}, {4, 0, 50}, 1, headDim, 16, 0.3});
  }
}

}  // namespace

int main(int argc, char** argv) {
  return runSuites("cuda attention", argc, argv,
                   {{"tiny", tiny}, {"reference", referenceFloats}, {"tensorCores", tensorCores}});
}
