// Every encoder kernel against plain loops in double, float and double tables of each instruction set this processor
// has; gradients against central differences; one and two threads bit for bit.
#include "../../native/cpu/team.h"
#include "../../native/runtime/philox.h"
#include "compare.h"

using namespace lateforge;
using namespace lateforge::testing;

namespace {

double activate(int64_t kind, double x) {
  switch (kind) {
    case 0:
      return 0.5 * x * std::erfc(-x * std::sqrt(0.5));
    case 1:
      return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case 2:
      return x > 0 ? x : 0;
    case 3:
      return std::tanh(x);
    case 4:
      return 1 / (1 + std::exp(-x));
    default:
      return x / (1 + std::exp(-x));
  }
}

// By differences, but for the kink of relu.
double slopeOf(int64_t kind, double x) {
  if (kind == 2) return x > 0;
  return (activate(kind, x + 1e-6) - activate(kind, x - 1e-6)) / 2e-6;
}

template <class T>
void pointwise(const cpu::Kernels* table) {
  const int64_t rows = number(1, 70), d = number(1, 150);
  Tensor a = noise<T>({rows, d}), b = noise<T>({rows, d});
  std::vector<double> want = wide<T>(a);
  for (size_t i = 0; i < want.size(); ++i) want[i] += wide<T>(b)[i];
  close<T>("add", run(table, Op::add, params::add{}, {&a, &b})[0], want);
  Tensor into = b;
  run(table, Op::addInto, params::addInto{}, {&a, &into});
  close<T>("addInto", into, want);
  Tensor factor = make<T>({1}, std::vector<T>{T(0.5)}), none;
  want = wide<T>(a);
  for (double& w : want) w *= 1.5;
  close<T>("scale", run(table, Op::scale, params::scale{3}, {&a, &factor})[0], want);
  Tensor target = noise<T>({rows + 3, d});
  run(table, Op::copyRows, params::copyRows{2}, {&a, &target});
  for (int64_t i = 0; i < rows * d; ++i) CHECK(target.as<T>()[2 * d + i] == a.as<T>()[i], "copyRows");
  run(table, Op::zero, params::zero{}, {&target});
  for (int64_t i = 0; i < target.meta.count(); ++i) CHECK(target.as<T>()[i] == 0, "zero");

  for (int64_t kind = 0; kind < 6; ++kind) {
    char name[64];
    std::snprintf(name, sizeof name, "activation %d", static_cast<int>(kind));
    Tensor x = noise<T>({rows, d}, kind % 2 ? 1 : 4), dy = noise<T>({rows, d});
    want = wide<T>(x);
    std::vector<double> slope;
    for (double& v : want) {
      slope.push_back(slopeOf(kind, v) * wide<T>(dy)[slope.size()]);
      v = activate(kind, v);
    }
    close<T>(name, run(table, Op::activation, params::activation{kind}, {&x})[0], want);
    const double slack = std::is_same_v<T, float> ? 1 : 1e4;  // the differences are only that good
    close<T>(name, run(table, Op::activationBackward, params::activationBackward{kind}, {&x, &dy})[0], slope, slack);
    Tensor ug = noise<T>({rows, 2 * d});
    want.clear();
    slope.assign(2 * rows * d, 0);
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t i = 0; i < d; ++i) {
        const double u = ug.as<T>()[r * 2 * d + i], g = ug.as<T>()[r * 2 * d + d + i], up = dy.as<T>()[r * d + i];
        want.push_back(activate(kind, u) * g);
        slope[r * 2 * d + i] = slopeOf(kind, u) * g * up;
        slope[r * 2 * d + d + i] = activate(kind, u) * up;
      }
    close<T>("geglu", run(table, Op::geglu, params::geglu{kind}, {&ug})[0], want);
    close<T>("gegluBackward", run(table, Op::gegluBackward, params::gegluBackward{kind}, {&ug, &dy})[0], slope, slack);
  }

  Tensor extreme = make<T>({1, 6}, std::vector<T>{T(-1e4), T(-100), T(0), T(100), T(1e4), T(NAN)});
  for (int64_t kind = 0; kind < 6; ++kind) {
    const Tensor y = run(table, Op::activation, params::activation{kind}, {&extreme})[0];
    for (int i = 0; i < 5; ++i)
      CHECK(std::fabs(y.as<T>()[i] - activate(kind, static_cast<double>(extreme.as<T>()[i]))) < 1e-30,
            "extreme %d %d: %g", static_cast<int>(kind), i, static_cast<double>(y.as<T>()[i]));
    CHECK(std::isnan(y.as<T>()[5]), "activation %d hides NaN", static_cast<int>(kind));
  }

  // Dropout by the scalar Philox.
  Tensor lengths = segments({3, 0, rows + 2});
  Tensor x = noise<T>({rows + 5, d});
  Tensor seeds = make<int32_t>({3, 2}, std::vector<int32_t>{1, -2, 3, 4, 1 << 30, -77});
  const Tensor y = run(table, Op::dropout, params::dropout{0.3, 5}, {&x, &lengths, &seeds})[0];
  want.clear();
  for (int64_t r = 0; r < rows + 5; ++r)
    for (int64_t f = 0; f < d; ++f) {
      const int64_t s = r < 3 ? 0 : 2, position = r < 3 ? r : r - 3;
      const Philox4 draw = philox(seeds.as<uint32_t>()[2 * s], seeds.as<uint32_t>()[2 * s + 1], f / 4, position, 5, 0);
      want.push_back(draw.word[f % 4] >= dropThreshold(0.3) ? x.as<T>()[r * d + f] / 0.7 : 0);
    }
  close<T>("dropout", y, want);

  // l2Normalize; row 0 is zero.
  Tensor v = noise<T>({rows, d}), dy = noise<T>({rows, d});
  std::fill(v.as<T>(), v.as<T>() + d, T(0));
  auto out = run(table, Op::l2Normalize, params::l2Normalize{1e-3}, {&v});
  std::vector<double> back, norms;
  want.clear();
  for (int64_t r = 0; r < rows; ++r) {
    double square = 0, along = 0;
    for (int64_t i = 0; i < d; ++i) square += std::pow(v.as<T>()[r * d + i], 2.0);
    const double n = std::max(std::sqrt(square), 1e-3);
    norms.push_back(n);
    for (int64_t i = 0; i < d; ++i) along += v.as<T>()[r * d + i] / n * dy.as<T>()[r * d + i];
    for (int64_t i = 0; i < d; ++i) {
      want.push_back(v.as<T>()[r * d + i] / n);
      back.push_back((dy.as<T>()[r * d + i] - (n > 1e-3 ? want.back() * along : 0)) / n);
    }
  }
  close<T>("l2Normalize", out[0], want);
  close<T>("l2Normalize norm", out[1], norms);
  close<T>("l2NormalizeBackward",
           run(table, Op::l2NormalizeBackward, params::l2NormalizeBackward{1e-3}, {&out[0], &out[1], &dy})[0], back);

  char error[kErrorBytes] = "";
  OpCall call{};
  call.op = Op::assertFinite;
  call.in[0] = viewOf(x);
  CHECK(table->op[static_cast<int>(Op::assertFinite)](call, error) == 0, "%s", error);
  x.as<T>()[7 % x.meta.count()] = T(-INFINITY);
  CHECK(table->op[static_cast<int>(Op::assertFinite)](call, error) == 1 && std::strstr(error, "-inf"), "%s", error);
}

template <class T>
void rowOps(const cpu::Kernels* table) {
  const int64_t rows = number(5, 40), d = number(1, 70);
  Tensor x = noise<T>({rows, d});
  std::vector<int32_t> index;
  for (int32_t r = 0; r < rows; ++r)
    if (number(0, 1) || r == 0) index.push_back(r);
  Tensor which = make<int32_t>({static_cast<int64_t>(index.size())}, index);
  Tensor y = run(table, Op::gatherRows, params::gatherRows{}, {&x, &which})[0];
  const Tensor dx = run(table, Op::scatterRows, params::scatterRows{rows}, {&y, &which})[0];
  for (int64_t r = 0, i = 0; r < rows; ++r) {
    const bool named = i < static_cast<int64_t>(index.size()) && index[i] == r;
    for (int64_t c = 0; c < d; ++c) {
      if (named) CHECK(y.as<T>()[i * d + c] == x.as<T>()[r * d + c], "gatherRows");
      CHECK(dx.as<T>()[r * d + c] == (named ? x.as<T>()[r * d + c] : T(0)), "scatterRows");
    }
    i += named;
  }
  const Tensor turned = run(table, Op::rowsToColumns, params::rowsToColumns{}, {&x})[0];
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < d; ++c) CHECK(turned.as<T>()[c * rows + r] == x.as<T>()[r * d + c], "rowsToColumns");
  Tensor lengths = segments({2, 0, rows - 2});
  std::vector<double> divided;
  for (int64_t k = 0; k < rows * d; ++k)
    divided.push_back(x.as<T>()[k] / static_cast<double>(k < 2 * d ? 2 : rows - 2));
  close<T>("divideRows", run(table, Op::divideRows, params::divideRows{}, {&x, &lengths})[0], divided);
  for (int64_t kind = 0; kind < 2; ++kind) {
    std::vector<double> want(3 * d, 0), back(rows * d, 0);
    Tensor dy = noise<T>({3, d});
    for (int64_t c = 0; c < d; ++c)
      for (int64_t r = 0; r < rows; ++r) {
        const int64_t s = r < 2 ? 0 : 2, length = r < 2 ? 2 : rows - 2;
        const double weight = kind ? 1.0 / static_cast<double>(length) : r == 0 || r == 2;
        want[s * d + c] += x.as<T>()[r * d + c] * weight;
        back[r * d + c] = dy.as<T>()[s * d + c] * weight;
      }
    close<T>("poolRows", run(table, Op::poolRows, params::poolRows{kind}, {&x, &lengths})[0], want);
    close<T>("poolRowsBackward", run(table, Op::poolRowsBackward, params::poolRowsBackward{kind}, {&dy, &lengths})[0],
             back);
  }
  // Few ids, so that runs cross tasks.
  const int64_t tokens = number(200, 600);
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < tokens; ++i)
    ids.push_back(static_cast<int32_t>(number(0, 3) ? rows / 2 : number(0, rows - 1)));
  Tensor id = make<int32_t>({tokens}, ids), dy = noise<T>({tokens, d}), dTable = noise<T>({rows, d});
  const Tensor e = run(table, Op::embedding, params::embedding{}, {&x, &id})[0];
  std::vector<double> want = wide<T>(dTable);
  for (int64_t i = 0; i < tokens; ++i)
    for (int64_t c = 0; c < d; ++c) {
      CHECK(e.as<T>()[i * d + c] == x.as<T>()[ids[i] * d + c], "embedding");
      want[ids[i] * d + c] += dy.as<T>()[i * d + c];
    }
  run(table, Op::embeddingBackward, params::embeddingBackward{}, {&dy, &id, &dTable});
  close<T>("embeddingBackward", dTable, want, 4);
}

template <class T>
void linearOps(const cpu::Kernels* table) {
  const bool tall = number(0, 3) == 0;  // column sums in many parts
  const int64_t rows = tall ? number(2049, 4000) : number(1, 300), in = number(1, tall ? 9 : 300), out = number(1, 80);
  Tensor x = noise<T>({rows, in}), w = noise<T>({out, in}), b = noise<T>({out}), dy = noise<T>({rows, out});
  Tensor dw = noise<T>({out, in}), db = noise<T>({out});
  std::vector<double> y(rows * out), dx(rows * in), wantW = wide<T>(dw), wantB = wide<T>(db);
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t o = 0; o < out; ++o) {
      const double g = dy.as<T>()[r * out + o];
      double sum = b.as<T>()[o];
      for (int64_t i = 0; i < in; ++i) {
        sum += static_cast<double>(x.as<T>()[r * in + i]) * w.as<T>()[o * in + i];
        dx[r * in + i] += g * w.as<T>()[o * in + i];
        wantW[o * in + i] += g * x.as<T>()[r * in + i];
      }
      y[r * out + o] = sum;
      wantB[o] += g;
    }
  close<T>("linear", run(table, Op::linear, params::linear{}, {&x, &w, &b})[0], y);
  close<T>("linearBackward dx", run(table, Op::linearBackward, params::linearBackward{1}, {&x, &w, &dy, &dw, &db})[0],
           dx);
  close<T>("linearBackward dw", dw, wantW);
  close<T>("linearBackward db", db, wantB);
}

template <class T>
void norms(const cpu::Kernels* table) {
  const int64_t kind = number(0, 4);
  const bool tall = kind == 0, broad = kind == 1;  // gradients of γ and β in many parts; rows beyond what CUDA keeps
  const int64_t rows = tall ? number(2049, 4000) : number(1, broad ? 20 : 600);
  // Narrower rows may be nearly constant.
  const int64_t d = broad ? number(200, 700) * (number(0, 1) ? 4 : 1) : number(6, tall ? 40 : 140);
  Tensor x = noise<T>({rows, d}), residual = noise<T>({rows, d}, 2), gamma = noise<T>({d}), beta = noise<T>({d}), none;
  for (int64_t i = 0; i < d; ++i) residual.as<T>()[i] += T(30);  // a row with a large mean
  auto reference = [&](const Tensor& s, const Tensor* b) {
    std::vector<double> y;
    for (int64_t r = 0; r < rows; ++r) {
      double mean = 0, variance = 0;
      for (int64_t i = 0; i < d; ++i) mean += s.as<T>()[r * d + i] / static_cast<double>(d);
      for (int64_t i = 0; i < d; ++i) variance += std::pow(s.as<T>()[r * d + i] - mean, 2.0) / static_cast<double>(d);
      for (int64_t i = 0; i < d; ++i)
        y.push_back((s.as<T>()[r * d + i] - mean) / std::sqrt(variance + 1e-5) * gamma.as<T>()[i] +
                    (b ? b->as<T>()[i] : 0));
    }
    return y;
  };
  auto out = run(table, Op::layerNorm, params::layerNorm{1e-5, 0}, {&x, &residual, &gamma, &beta});
  std::vector<double> sum = wide<T>(x);
  for (size_t i = 0; i < sum.size(); ++i) sum[i] += residual.as<T>()[i];
  close<T>("layerNorm sum", out[1], sum);
  close<T>("layerNorm", out[0], reference(out[1], &beta), 4);
  close<T>("layerNorm plain", run(table, Op::layerNorm, params::layerNorm{1e-5, 0}, {&x, &none, &gamma, &none})[0],
           reference(x, nullptr), 4);

  Tensor dy = noise<T>({rows, d}), dsum = noise<T>({rows, d}), dgamma = noise<T>({d}), dbeta = noise<T>({d});
  std::vector<double> dx, dg = wide<T>(dgamma), db = wide<T>(dbeta);
  for (int64_t r = 0; r < rows; ++r) {
    const double mean = out[2].as<T>()[2 * r], rstd = out[2].as<T>()[2 * r + 1];
    double g1 = 0, g2 = 0;
    for (int64_t i = 0; i < d; ++i) {
      const double h = (out[1].as<T>()[r * d + i] - mean) * rstd, g = dy.as<T>()[r * d + i] * gamma.as<T>()[i];
      g1 += g / static_cast<double>(d);
      g2 += g * h / static_cast<double>(d);
      dg[i] += dy.as<T>()[r * d + i] * h;
      db[i] += dy.as<T>()[r * d + i];
    }
    for (int64_t i = 0; i < d; ++i) {
      const double h = (out[1].as<T>()[r * d + i] - mean) * rstd, g = dy.as<T>()[r * d + i] * gamma.as<T>()[i];
      dx.push_back(rstd * (g - g1 - h * g2) + dsum.as<T>()[r * d + i]);
    }
  }
  auto back = run(table, Op::layerNormBackward, params::layerNormBackward{},
                  {&out[1], &gamma, &out[2], &dy, &dsum, &dgamma, &dbeta});
  close<T>("layerNormBackward dx", back[0], dx, 4);
  close<T>("layerNormBackward dgamma", dgamma, dg, 2);
  close<T>("layerNormBackward dbeta", dbeta, db, 2);
  if constexpr (std::is_same_v<T, double>) {
    if (rows * d > 3000) return;
    std::vector<double> up = wide<T>(dy);
    Tensor plain = run(table, Op::layerNorm, params::layerNorm{1e-5, 0}, {&x, &none, &gamma, &none})[2];
    near("layerNormBackward",
         run(table, Op::layerNormBackward, params::layerNormBackward{},
             {&x, &gamma, &plain, &dy, &none, &none, &none})[0],
         differences(x, up, [&] {
           return wide<double>(run(table, Op::layerNorm, params::layerNorm{1e-5, 0}, {&x, &none, &gamma, &none})[0]);
         }));
  }
}

template <class T>
void optimisers(const cpu::Kernels* table) {
  const int64_t n = number(1, 20000), cut = number(0, n);
  Tensor x = noise<T>({n});
  double square = 0;
  for (double v : wide<T>(x)) square += v * v;
  Tensor norm = run(table, Op::sumSquares, params::sumSquares{}, {&x})[0];
  close<T>("sumSquares", norm, {square});

  Tensor lengths = segments({cut, n - cut}), groups = make<T>({2, 2}, std::vector<T>{T(1e-3), T(0.01), T(2e-2), T(0)});
  Tensor m = noise<T>({n}, 0.1), v = noise<T>({n}, 0.1), p = noise<T>({n}), none;
  for (int64_t i = 0; i < n; ++i) v.as<T>()[i] = std::fabs(v.as<T>()[i]);
  for (double clip : {0.0, 1.0}) {
    std::vector<double> wp, wm, wv;
    const double factor = clip > 0 ? std::min(1.0, clip / (std::sqrt(square) + 1e-6)) : 1;
    for (int64_t i = 0; i < n; ++i) {
      const double g = x.as<T>()[i] * factor;
      const double lr = (i < cut ? 1e-3 : 2e-2) * 0.5, wd = i < cut ? 0.01 : 0;
      wm.push_back(0.9 * m.as<T>()[i] + 0.1 * g);
      wv.push_back(0.999 * v.as<T>()[i] + 0.001 * g * g);
      wp.push_back(p.as<T>()[i] * (1 - lr * wd) - lr * (wm.back() / (1 - std::pow(0.9, 3))) /
                                                      (std::sqrt(wv.back() / (1 - std::pow(0.999, 3))) + 1e-8));
    }
    run(table, Op::adamw, params::adamw{0.5, 0.9, 0.999, 1e-8, 3, clip},
        {&p, &x, &m, &v, clip > 0 ? &norm : &none, &lengths, &groups});
    close<T>("adamw m", m, wm);
    close<T>("adamw v", v, wv);
    close<T>("adamw p", p, wp);
  }
  Tensor bad = make<T>({1}, std::vector<T>{T(NAN)}), kept = p;
  run(table, Op::adamw, params::adamw{0.5, 0.9, 0.999, 1e-8, 3, 0}, {&p, &x, &m, &v, &bad, &lengths, &groups});
  CHECK(kept.bytes == p.bytes, "adamw stepped on a norm that is no number");
}

// 16-bit reals: every value becomes itself as a wider type; what lies between two neighbours goes to the nearer one,
// and to the even one from the middle, which a double just beside it is not.
template <class T>
void casts(const cpu::Kernels* table) {
  const auto cast = [&](Tensor& x, DType to) {
    Tensor y = x;
    y.meta.dtype = to;
    y.meta.facts = nullptr;
    y.bytes.assign(static_cast<size_t>(y.meta.bytes()), 0);
    run(table, Op::cast, params::cast{}, {&x, &y});
    return y;
  };
  for (const DType type : {DType::f16, DType::bf16}) {
    const int mantissa = type == DType::f16 ? 10 : 7, bias = type == DType::f16 ? 15 : 127;
    const uint16_t infinite = static_cast<uint16_t>((2 * bias + 1) << mantissa);
    const auto valueOf = [&](int bits) {
      const int exponent = bits >> mantissa, fraction = bits & ((1 << mantissa) - 1);
      return exponent ? std::ldexp((1 << mantissa) + fraction, exponent - bias - mantissa)
                      : std::ldexp(fraction, 1 - bias - mantissa);
    };
    std::vector<uint16_t> all(65536);
    for (int i = 0; i < 65536; ++i) all[static_cast<size_t>(i)] = static_cast<uint16_t>(i);
    Tensor words = make<uint16_t>({65536}, all);
    words.meta.dtype = type;
    words.meta.facts = nullptr;
    const Tensor wider = cast(words, dtypeOf<T>());
    std::vector<T> between;
    std::vector<uint16_t> nearest;
    const auto expect = [&](double x, int bits) {
      for (const int sign : {0, 0x8000}) {
        between.push_back(static_cast<T>(sign ? -x : x));
        nearest.push_back(static_cast<uint16_t>(bits | sign));
      }
    };
    for (int i = 0; i < 65536; ++i) {
      const int bits = i & 0x7fff;
      const T got = wider.as<T>()[i];
      const double want = bits > infinite ? NAN : bits == infinite ? HUGE_VAL : valueOf(bits);
      CHECK(
          bits > infinite ? std::isnan(got) : got == (i < 0x8000 ? want : -want) && std::signbit(got) == (i >= 0x8000),
          "cast from %s: %x is %g", nameOf(type), i, static_cast<double>(got));
      if (i >= infinite) continue;
      const T middle = static_cast<T>((valueOf(i) + valueOf(i + 1)) / 2);
      expect(valueOf(i), i);
      expect(middle, i + (i & 1));
      expect(std::nextafter(middle, T(0)), i);
      expect(std::nextafter(middle, T(HUGE_VAL)), i + 1);
    }
    expect(HUGE_VAL, infinite);
    Tensor x = make<T>({static_cast<int64_t>(between.size())}, between);
    const Tensor narrow = cast(x, type);
    for (size_t i = 0; i < nearest.size(); ++i)
      CHECK(narrow.as<uint16_t>()[i] == nearest[i], "cast to %s: %.17g is %x, expected %x", nameOf(type),
            static_cast<double>(between[i]), narrow.as<uint16_t>()[i], nearest[i]);
    Tensor nan = make<T>({1}, {T(NAN)});
    CHECK((cast(nan, type).template as<uint16_t>()[0] & 0x7fff) > infinite, "cast: NaN vanished");
  }
  Tensor x = noise<T>({5, 7});
  CHECK(cast(x, dtypeOf<T>()).bytes == x.bytes, "cast to the same type");
#ifndef LF_EMULATION  // which has no float64
  close<double>("cast to double", cast(x, DType::f64), wide<T>(x));
#endif
}

// One and two threads give the same bits, also where there were more or fewer of them when the op was issued.
void threads(const cpu::Kernels* table) {
  Tensor lengths = segments({400, 7, 180, 60}), x = noise<float>({647, 192}), dO = noise<float>({647, 64}), none;
  Tensor w = noise<float>({64, 192}), gamma = noise<float>({192});
  constexpr int kThreads[][2] = {{1, 1}, {2, 2}, {1, 3}, {3, 1}};  // when it is issued, while it runs
  std::vector<Bytes> bits[std::size(kThreads)];
  for (size_t t = 0; t < std::size(kThreads); ++t) {
    cpu::Team::instance().setThreads(kThreads[t][0]);
    threadsAtRun = kThreads[t][1];
    auto keep = [&](const std::vector<Tensor>& out) {
      for (const Tensor& o : out) bits[t].push_back(o.bytes);
    };
    auto o = run(table, Op::attention, params::attention{2, 64, 0, 0}, {&x, &lengths, &none, &none});
    keep(o);
    keep(run(table, Op::attentionBackward, params::attentionBackward{2, 64, 0, 0},
             {&x, &o[0], &o[1], &dO, &lengths, &none, &none}));
    Tensor dw = make<float>({64, 192}, std::vector<float>(64 * 192, 0)),
           db = make<float>({64}, std::vector<float>(64, 0));
    keep(run(table, Op::linearBackward, params::linearBackward{1}, {&x, &w, &dO, &dw, &db}));
    keep({dw, db});
    auto y = run(table, Op::layerNorm, params::layerNorm{1e-5, 0}, {&x, &none, &gamma, &none});
    Tensor dg = make<float>({192}, std::vector<float>(192, 0));
    keep(run(table, Op::layerNormBackward, params::layerNormBackward{}, {&x, &gamma, &y[2], &x, &none, &dg, &none}));
    keep({dg});
    Tensor flat = x;
    flat.meta = Meta::of(DType::f32, {647 * 192});
    keep(run(table, Op::sumSquares, params::sumSquares{}, {&flat}));
    std::vector<int32_t> ids;
    for (int32_t i = 0; i < 647; ++i) ids.push_back(i * i % 19);
    Tensor id = make<int32_t>({647}, ids), dTable = make<float>({19, 192}, std::vector<float>(19 * 192, 0));
    run(table, Op::embeddingBackward, params::embeddingBackward{}, {&x, &id, &dTable});
    keep({dTable});
  }
  threadsAtRun = 0;
  for (size_t t = 1; t < std::size(kThreads); ++t)
    for (size_t i = 0; i < bits[0].size(); ++i)
      CHECK(bits[0][i] == bits[t][i], "result %zu differs with %d threads, %d when it was issued", i, kThreads[t][1],
            kThreads[t][0]);
}

template <class T>
void suite(const cpu::Kernels* table) {
  for (int round = 0; round < 3; ++round) {
    pointwise<T>(table);
    rowOps<T>(table);
    linearOps<T>(table);
    norms<T>(table);
    optimisers<T>(table);
  }
}

}  // namespace

int main() {
  return onEveryIsa("kernels", [](const cpu::Isa& isa, std::mt19937& fresh) {
    rng = fresh;
    suite<float>(isa.floats);
    suite<double>(isa.doubles);
    casts<float>(isa.floats);
    casts<double>(isa.doubles);
    threads(isa.floats);
  });
}
