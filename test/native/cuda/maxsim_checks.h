// A MaxSim problem checked against the definition: small integers bit for bit with their winners, random vectors by
// tolerance and winners by regret; the fast backward bit for bit against the plain one.
#pragma once

#include "maxsim_problem.h"

namespace lateforge::testing {

template <class T>
void integers(Problem p) {
  fill<T>(p, true);
  const Truth want = truthOf(p);
  const Runner<T> run(p);
  const Answer got = run.forward();
  checkExact(p, got, want, nameOf<T>());
  CHECK(same(run.forward(false).scores, got.scores), "%s %s: other scores without winners", p.text(), nameOf<T>());
}

// Random vectors: no worse than twice the plain kernel, a winner as good as the best to rounding.
template <class T>
void randoms(Problem p) {
  fill<T>(p, false);
  const Truth want = truthOf(p);
  const Runner<T> run(p);
  useReference(true);
  const Answer reference = run.forward();
  const double plain = errorOf(reference.scores, want);
  useReference(false);
  const Answer got = run.forward();
  if (sizeof(T) == 4 || p.dim > 128)
    CHECK(same(got.scores, reference.scores) && got.winners == reference.winners, "%s %s: other bits than plain",
          p.text(), nameOf<T>());
  const double error = errorOf(got.scores, want);
  double largest = 1;
  for (const double score : want.scores) largest = std::max(largest, std::abs(score));
  CHECK(error <= 2 * plain + 5e-7 * largest, "%s %s: off by %g, the plain kernel by %g", p.text(), nameOf<T>(), error,
        plain);
  const auto q = offsetsOf(p.queries), d = offsetsOf(p.documents);
  double regret = 0;
  size_t at = 0, wrong = 0;
  for (const auto& [i, j] : p.list())
    for (int64_t row = q[i]; row < q[i + 1]; ++row, ++at) {
      const int32_t w = got.winners[at];
      const bool none = want.winners[at] < 0;
      if (none ? w >= 0 : w < 0 || w >= d[j + 1] - d[j])
        ++wrong;
      else if (!none)
        regret = std::max(regret, want.best[at] - similarity(p, row, d[j] + w));
    }
  CHECK(wrong == 0 && regret <= 2e-6, "%s %s: %zu winners, regret %g", p.text(), nameOf<T>(), wrong, regret);
}

template <class T>
Gradients noise(const Problem& p) {
  std::normal_distribution<float> normal;
  Gradients g{std::vector<float>(p.q.size()), std::vector<float>(p.d.size())};
  for (float& v : g.dq) v = normal(generator());
  for (float& v : g.dd) v = normal(generator());
  return g;
}

// Gradients against the definition, and bit for bit against the plain kernels, alone and together.
template <class T>
void backward(Problem p) {
  fill<T>(p, false);
  const Truth truth = truthOf(p);
  const Runner<T> run(p);
  std::normal_distribution<float> normal;
  std::vector<float> dscores(truth.scores.size());
  for (float& g : dscores) g = number(0, 3) ? normal(generator()) : 0;
  const Gradients before = noise<T>(p), got = run.backward(truth.winners, dscores, before);
  std::vector<double> dq(before.dq.begin(), before.dq.end()), dd(before.dd.begin(), before.dd.end());
  const auto q = offsetsOf(p.queries), d = offsetsOf(p.documents);
  const auto list = p.list();
  size_t at = 0;
  for (size_t k = 0; k < list.size(); ++k)
    for (int64_t row = q[list[k].first]; row < q[list[k].first + 1]; ++row, ++at) {
      if (truth.winners[at] < 0) continue;
      const double g = dscores[p.scoreAt(k, list[k])];
      const int64_t token = d[list[k].second] + truth.winners[at];
      for (int64_t f = 0; f < p.dim; ++f) {
        dq[row * p.dim + f] += g * p.d[token * p.dim + f];
        dd[token * p.dim + f] += g * p.q[row * p.dim + f];
      }
    }
  double error = 0;
  for (size_t k = 0; k < dq.size(); ++k) error = std::max(error, std::abs(dq[k] - got.dq[k]));
  for (size_t k = 0; k < dd.size(); ++k) error = std::max(error, std::abs(dd[k] - got.dd[k]));
  CHECK(error <= 5e-5, "%s %s: gradients off by %g", p.text(), nameOf<T>(), error);
  useReference(true);
  const Gradients plain = run.backward(truth.winners, dscores, before);
  useReference(false);
  CHECK(same(got.dq, plain.dq) && same(got.dd, plain.dd), "%s %s: other gradients than plain", p.text(), nameOf<T>());
  const Gradients onlyQ = run.backward(truth.winners, dscores, before, true, false);
  const Gradients onlyD = run.backward(truth.winners, dscores, before, false, true);
  CHECK(same(onlyQ.dq, got.dq) && same(onlyD.dd, got.dd), "%s %s: one side alone differs", p.text(), nameOf<T>());
  CHECK(same(onlyQ.dd, before.dd) && same(onlyD.dq, before.dq), "%s: a side nobody asked for", p.text());
}

// f() with the reference kernels, then with those in use.
template <class F>
void fastAndReference(const F& f) {
  for (const bool reference : {true, false}) {
    useReference(reference);
    f();
  }
}

}  // namespace lateforge::testing
