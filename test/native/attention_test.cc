// RoPE and attention against their definitions in double; the gradient of attention against central differences.
#include "../../native/runtime/philox.h"
#include "compare.h"

using namespace lateforge;
using namespace lateforge::testing;

namespace {

template <class T>
void ropeOp(const cpu::Kernels* table) {
  const int64_t heads = number(1, 3), half = number(1, 40), hd = 2 * half;
  Tensor lengths = segments({0, 3, 0, 9, 1}), x = noise<T>({13, 3 * heads * hd}), angles = noise<T>({9, hd});
  for (int64_t i = 0; i < 9; ++i)
    for (int64_t j = 0; j < half; ++j) {
      const double a = static_cast<double>(i) * std::pow(1e4, -static_cast<double>(j) / static_cast<double>(half));
      angles.as<T>()[i * hd + j] = T(std::cos(a));
      angles.as<T>()[i * hd + half + j] = T(std::sin(a));
    }
  std::vector<double> want = wide<T>(x), before = want;
  const int64_t position[] = {0, 1, 2, 0, 1, 2, 3, 4, 5, 6, 7, 8, 0};
  for (int64_t r = 0; r < 13; ++r)
    for (int64_t h = 0; h < 2 * heads; ++h)
      for (int64_t j = 0; j < half; ++j) {
        const double c = angles.as<T>()[position[r] * hd + j], s = angles.as<T>()[position[r] * hd + half + j];
        double &a = want[(r * 3 * heads + h) * hd + j], &b = want[(r * 3 * heads + h) * hd + half + j];
        const double rotated = a * c - b * s;
        b = b * c + a * s;
        a = rotated;
      }
  run(table, Op::rope, params::rope{heads, 0}, {&x, &lengths, &angles});
  close<T>("rope", x, want);
  run(table, Op::rope, params::rope{heads, 1}, {&x, &lengths, &angles});
  close<T>("rope inverse", x, before);
}

struct Attention {
  std::vector<int64_t> lengths;
  std::vector<int32_t> keys;
  std::vector<int32_t> seeds;
  int64_t heads, hd, window;
  double dropout;
};

// o, lse and (with dO) dqkv by definition.
template <class T>
void attentionReference(const Attention& c, const Tensor& qkv, const Tensor& dO, std::vector<double>& o,
                        std::vector<double>& lse, std::vector<double>& dqkv) {
  const int64_t width = 3 * c.heads * c.hd, plane = c.heads * c.hd;
  const int64_t rows = qkv.meta.dims[0];
  o.assign(rows * plane, 0);
  lse.assign(rows * c.heads, -INFINITY);
  dqkv.assign(rows * width, 0);
  const double scale = 1 / std::sqrt(static_cast<double>(c.hd));
  int64_t row = 0;
  for (size_t s = 0; s < c.lengths.size(); row += c.lengths[s++])
    for (int64_t h = 0; h < c.heads; ++h)
      for (int64_t q = 0; q < c.lengths[s]; ++q) {
        auto at = [&](int part, int64_t r) { return (row + r) * width + part * plane + h * c.hd; };
        auto dotted = [&](const T* a, const T* b) {
          double sum = 0;
          for (int64_t i = 0; i < c.hd; ++i) sum += static_cast<double>(a[i]) * b[i];
          return sum;
        };
        const int64_t keys = c.keys.empty() ? c.lengths[s] : c.keys[s];
        std::vector<double> p(keys, 0), factor(keys, 1), dp(keys, 0);
        double total = 0;
        auto seen = [&](int64_t k) { return c.window < 0 || std::abs(q - k) <= c.window; };
        for (int64_t k = 0; k < keys; ++k) {
          if (!seen(k)) continue;
          p[k] = std::exp(dotted(qkv.as<T>() + at(0, q), qkv.as<T>() + at(1, k)) * scale);
          total += p[k];
          if (c.dropout > 0) {
            const Philox4 draw =
                philox(static_cast<uint32_t>(c.seeds[2 * s]), static_cast<uint32_t>(c.seeds[2 * s + 1]),
                       static_cast<uint32_t>(k / 4), static_cast<uint32_t>(q), 9, static_cast<uint32_t>(h + 1));
            factor[k] = draw.word[k % 4] >= dropThreshold(c.dropout) ? 1 / (1 - c.dropout) : 0;
          }
        }
        if (total == 0) continue;
        lse[(row + q) * c.heads + h] = std::log(total);
        const T* up = dO.as<T>() + (row + q) * plane + h * c.hd;
        double along = 0;
        for (int64_t k = 0; k < keys; ++k) {
          p[k] /= total;
          dp[k] = factor[k] * dotted(up, qkv.as<T>() + at(2, k));
          along += p[k] * dp[k];
        }
        for (int64_t k = 0; k < keys; ++k)
          for (int64_t i = 0; i < c.hd; ++i) {
            const double ds = p[k] * (dp[k] - along) * scale;
            o[(row + q) * plane + h * c.hd + i] += p[k] * factor[k] * qkv.as<T>()[at(2, k) + i];
            dqkv[at(0, q) + i] += ds * qkv.as<T>()[at(1, k) + i];
            dqkv[at(1, k) + i] += ds * qkv.as<T>()[at(0, q) + i];
            dqkv[at(2, k) + i] += p[k] * factor[k] * up[i];
          }
      }
}

template <class T>
void attentionCase(const cpu::Kernels* table, const Attention& c) {
  Tensor lengths = segments(c.lengths), none, keys, seeds;
  const int64_t n = static_cast<int64_t>(c.lengths.size()), rows = lengths.as<int64_t>()[n];
  if (!c.keys.empty()) keys = make<int32_t>({n}, c.keys);
  if (!c.seeds.empty()) seeds = make<int32_t>({n, 2}, c.seeds);
  Tensor qkv = noise<T>({rows, 3 * c.heads * c.hd}), dO = noise<T>({rows, c.heads * c.hd});
  std::vector<double> o, lse, dqkv;
  attentionReference<T>(c, qkv, dO, o, lse, dqkv);
  auto out =
      run(table, Op::attention, params::attention{c.heads, c.window, c.dropout, 9}, {&qkv, &lengths, &keys, &seeds});
  char name[128];
  std::snprintf(name, sizeof name, "attention of %d rows, head dim %d, window %d, dropout %g", static_cast<int>(rows),
                static_cast<int>(c.hd), static_cast<int>(c.window), c.dropout);
  close<T>(name, out[0], o);
  close<T>(name, out[1], lse);
  close<T>(name,
           run(table, Op::attentionBackward, params::attentionBackward{c.heads, c.window, c.dropout, 9},
               {&qkv, &out[0], &out[1], &dO, &lengths, &keys, &seeds})[0],
           dqkv, 2);
}

template <class T>
void attentions(const cpu::Kernels* table) {
  for (int64_t hd : {int64_t{32}, int64_t{64}, number(1, 50)})
    for (int64_t window : {int64_t{-1}, int64_t{64}, number(0, 10)})
      for (double dropout : {0.0, 0.2}) {
        Attention c{{number(1, 40), 0, number(30, 180), 1}, {}, {}, number(1, 3), hd, window, dropout};
        if (dropout > 0)
          for (int i = 0; i < 8; ++i) c.seeds.push_back(static_cast<int32_t>(rng()));
        attentionCase<T>(table, c);
        c.keys = {static_cast<int32_t>(number(0, c.lengths[0])), 0, static_cast<int32_t>(number(1, 30)), 0};
        attentionCase<T>(table, c);
      }
  // More than two tiles of keys; many short sequences.
  attentionCase<T>(table, {{number(385, 500)}, {}, {}, 1, 32, -1, 0});
  attentionCase<T>(table, {{number(385, 500)}, {}, {5, 6}, 1, 16, 130, 0.1});
  attentionCase<T>(table, {std::vector<int64_t>(100, number(5, 12)), {}, {}, 2, 32, 64, 0});
}

// The gradient of attention itself, not of the reference, by differences.
void attentionGradient(const cpu::Kernels* table) {
  Tensor lengths = segments({7, 0, 3}), keys = make<int32_t>({3}, std::vector<int32_t>{5, 0, 3});
  Tensor seeds = make<int32_t>({3, 2}, std::vector<int32_t>{1, 2, 3, 4, 5, 6});
  Tensor qkv = noise<double>({10, 3 * 2 * 5}), dO = noise<double>({10, 2 * 5});
  const params::attention p{2, 2, 0.2, 1};
  auto forward = [&] { return run(table, Op::attention, p, {&qkv, &lengths, &keys, &seeds}); };
  auto out = forward();
  near("attentionBackward",
       run(table, Op::attentionBackward, params::attentionBackward{2, 2, 0.2, 1},
           {&qkv, &out[0], &out[1], &dO, &lengths, &keys, &seeds})[0],
       differences(qkv, wide<double>(dO), [&] { return wide<double>(forward()[0]); }));
}

}  // namespace

int main() {
  return onEveryIsa("attention", [](const cpu::Isa& isa, std::mt19937& fresh) {
    rng = fresh;
    for (int round = 0; round < 3; ++round) {
      ropeOp<float>(isa.floats);
      ropeOp<double>(isa.doubles);
    }
    attentions<float>(isa.floats);
    attentions<double>(isa.doubles);
    attentionGradient(isa.doubles);
  });
}
