// The losses against plain double references and finite differences, on every instruction set this processor has.
#include <limits>

#include "harness.h"

namespace lateforge::testing {
namespace {

const double kInfinity = std::numeric_limits<double>::infinity();

template <class T>
const cpu::Kernels* tableOf(const cpu::Isa& isa) {
  return sizeof(T) == 4 ? isa.floats : isa.doubles;
}

// The one element of a scalar.
double only(const Tensor& t) { return t.meta.dtype == DType::f32 ? t.as<float>()[0] : t.as<double>()[0]; }

struct Contrast {
  Tensor scores, logScale, dSegments, groups, qDuplicates, dDuplicates, weights;
  int64_t firstRow = 0, firstQuery = 0, learned = 1;
  double normalizer = 0.25;

  int64_t rows() const { return scores.meta.dims[0]; }
  int64_t columns() const { return scores.meta.dims[1]; }

  int64_t positive(int64_t query) const { return groups.as<int64_t>()[query]; }

  // Of all columns.
  bool excluded(int64_t query, int64_t j) const {
    const int64_t* d = dSegments.as<int64_t>();
    if (d[j] == d[j + 1]) return true;
    if (!qDuplicates.meta.present() || j == positive(query)) return false;
    const int32_t* q = qDuplicates.as<int32_t>();
    if (dDuplicates.as<int32_t>()[j] == dDuplicates.as<int32_t>()[positive(query)]) return true;
    for (int64_t other = 0; other + 1 < groups.meta.dims[0]; ++other)
      if (other != query && positive(other) == j && q[other] == q[query]) return true;
    return false;
  }
};

// Documents of each query: none but the positive, as many for all, more or fewer.
const std::vector<int64_t> kAlone(8, 1), kThree(8, 3), kRagged{2, 1, 6, 3, 1, 1, 4, 5};

template <class T>
Contrast contrast(int64_t rows, const std::vector<int64_t>& counts, int64_t firstRow, bool duplicates, double logScale,
                  std::mt19937& rng) {
  Contrast c;
  c.groups = segments(counts);
  const int64_t queries = std::ssize(counts), columns = c.positive(queries);
  c.scores = random<T>({rows, columns}, rng);
  c.logScale = make<T>({1}, {static_cast<T>(logScale)});
  std::vector<int64_t> lengths(static_cast<size_t>(columns), 3);
  lengths[static_cast<size_t>(columns / 2 + 1)] = 0;
  lengths[static_cast<size_t>(c.positive(firstRow + 1))] = 0;
  c.dSegments = segments(lengths);
  c.firstRow = firstRow;
  c.weights = random<T>({rows}, rng);
  for (int64_t r = 0; r < rows; ++r) c.weights.as<T>()[r] = std::abs(c.weights.as<T>()[r]);
  if (!duplicates) return c;
  std::vector<int32_t> q, d;
  for (int64_t i = 0; i < queries; ++i) q.push_back(static_cast<int32_t>(rng() % queries));
  for (int64_t j = 0; j < columns; ++j) d.push_back(static_cast<int32_t>(rng() % columns));
  c.qDuplicates = make<int32_t>({queries}, q);
  c.dDuplicates = make<int32_t>({columns}, d);
  return c;
}

struct Outcome {
  Tensor stats, lse, gradient, loss, dLogScale;
};

template <class T>
Outcome contrastive(const cpu::Isa& isa, Contrast& c, double lossBefore = 0) {
  Outcome o;
  const cpu::Kernels* table = tableOf<T>(isa);
  o.stats = run(table, Op::rowStats, params::rowStats{c.firstRow, c.firstQuery, c.learned},
                {&c.scores, &c.logScale, &c.dSegments, &c.groups, &c.qDuplicates, &c.dDuplicates})[0];
  o.loss = make<T>({1}, {static_cast<T>(lossBefore)});
  o.dLogScale = make<T>({1}, {static_cast<T>(lossBefore)});
  o.lse = run(table, Op::contrastiveLoss, params::contrastiveLoss{c.normalizer}, {&o.stats, &c.weights, &o.loss})[0];
  o.gradient = c.scores;
  run(table, Op::softmaxGrad, params::softmaxGrad{c.firstRow, c.firstQuery, c.learned, c.normalizer},
      {&o.gradient, &o.lse, &c.logScale, &c.dSegments, &c.groups, &c.qDuplicates, &c.dDuplicates, &c.weights,
       &o.dLogScale});
  return o;
}

template <class T>
double contrastiveReference(const Contrast& c) {
  const double given = c.logScale.as<T>()[0], scale = std::exp(c.learned ? std::min(given, std::log(100.0)) : given);
  double loss = 0;
  for (int64_t r = 0; r < c.rows(); ++r) {
    const int64_t query = c.firstRow + r, positive = c.positive(query);
    if (c.excluded(query, positive)) continue;
    const T* s = c.scores.as<T>() + r * c.columns();
    double sum = 0;
    for (int64_t j = 0; j < c.columns(); ++j)
      if (!c.excluded(query, j)) sum += std::exp(scale * (s[j] - s[positive]));
    loss += (c.weights.meta.present() ? c.weights.as<T>()[r] : 1) * std::log(sum);
  }
  return c.normalizer * loss;
}

template <class T>
void checkContrastive(const cpu::Isa& isa, std::mt19937& rng) {
  for (bool duplicates : {false, true})
    for (const auto& counts : {kAlone, kThree, kRagged}) {
      Contrast c = contrast<T>(5, counts, 2, duplicates, 0.7, rng);
      const double tolerance = sizeof(T) == 4 ? 1e-5 : 1e-12;
      const double expected = contrastiveReference<T>(c), got = only(contrastive<T>(isa, c, 10).loss) - 10;
      CHECK(std::abs(got - expected) < tolerance, "%s: loss %g, expected %g", isa.name, got, expected);
      const Outcome o = contrastive<T>(isa, c);
      for (int64_t r = 0; r < c.rows(); ++r)
        for (int64_t j = 0; j < c.columns(); ++j) {
          const double g = o.gradient.as<T>()[r * c.columns() + j];
          const bool silent = c.excluded(r + c.firstRow, c.positive(r + c.firstRow));
          if (silent || c.excluded(r + c.firstRow, j))
            CHECK(g == 0, "%s: excluded column has gradient %g", isa.name, g);
        }
      CHECK(o.stats.as<T>()[3 + 2] == -kInfinity && o.lse.as<T>()[1] == kInfinity, "%s: empty positive", isa.name);
    }
}

// Columns [first, last) of a matrix or of segments.
template <class T>
Tensor columnsOf(const Tensor& m, int64_t first, int64_t last) {
  std::vector<T> part;
  for (int64_t r = 0; r < m.meta.dims[0]; ++r)
    part.insert(part.end(), m.as<T>() + r * m.meta.dims[1] + first, m.as<T>() + r * m.meta.dims[1] + last);
  return make<T>({m.meta.dims[0], last - first}, part);
}

// The columns dealt to ranks, one of them with none: stats combine to those of the whole, and gradients are its
// columns.
template <class T>
void checkParts(const cpu::Isa& isa, std::mt19937& rng) {
  for (bool duplicates : {false, true})
    for (const auto& counts : {kAlone, kThree, kRagged}) {
      const int64_t ranks = 4;
      const int64_t owned[ranks + 1] = {0, 3, 3, 7, 8};
      Contrast whole = contrast<T>(5, counts, 2, duplicates, 0.7, rng);
      const Outcome expected = contrastive<T>(isa, whole);
      std::vector<T> parts;
      Contrast part[ranks];
      for (int64_t r = 0; r < ranks; ++r) {
        Contrast& c = part[r] = whole;
        const int64_t first = whole.positive(owned[r]), last = whole.positive(owned[r + 1]);
        c.scores = columnsOf<T>(whole.scores, first, last);
        std::vector<int64_t> lengths;
        for (int64_t j = first; j < last; ++j)
          lengths.push_back(whole.dSegments.as<int64_t>()[j + 1] - whole.dSegments.as<int64_t>()[j]);
        c.dSegments = segments(lengths);
        c.firstQuery = owned[r];
        const Tensor stats = run(tableOf<T>(isa), Op::rowStats, params::rowStats{c.firstRow, c.firstQuery, c.learned},
                                 {&c.scores, &c.logScale, &c.dSegments, &c.groups, &c.qDuplicates, &c.dDuplicates})[0];
        parts.insert(parts.end(), stats.as<T>(), stats.as<T>() + stats.meta.count());
      }
      const T* none = parts.data() + 1 * 5 * 3;  // rank 1 has no columns
      CHECK(none[0] == -kInfinity && none[1] == 0 && none[2] == -kInfinity, "%s: no columns", isa.name);
      Tensor all = make<T>({ranks * 5, 3}, parts);
      const auto combine = [&] {
        return run(tableOf<T>(isa), Op::combineStats, params::combineStats{ranks}, {&all})[0];
      };
      const Tensor stats = combine();
      const double tolerance = sizeof(T) == 4 ? 1e-6 : 1e-14;
      for (int64_t k = 0; k < 15; ++k) {
        const T got = stats.as<T>()[k], want = expected.stats.as<T>()[k];
        CHECK(got == want || (k % 3 == 1 && std::abs(got - want) < tolerance * want), "%s: stats [%d] %g, expected %g",
              isa.name, (int)k, (double)got, (double)want);
      }
      double dLogScale = 0;
      for (int64_t r = 0; r < ranks; ++r) {
        Contrast& c = part[r];
        Tensor d = make<T>({1}, {T(0)}), lse = expected.lse;
        run(tableOf<T>(isa), Op::softmaxGrad, params::softmaxGrad{c.firstRow, c.firstQuery, c.learned, c.normalizer},
            {&c.scores, &lse, &c.logScale, &c.dSegments, &c.groups, &c.qDuplicates, &c.dDuplicates, &c.weights, &d});
        dLogScale += only(d);
        const Tensor want = columnsOf<T>(expected.gradient, whole.positive(owned[r]), whole.positive(owned[r + 1]));
        for (int64_t k = 0; k < want.meta.count(); ++k)
          CHECK(c.scores.as<T>()[k] == want.as<T>()[k], "%s: gradient of rank %d", isa.name, (int)r);
      }
      CHECK(std::abs(dLogScale - only(expected.dLogScale)) < 20 * tolerance, "%s: temperature %g, expected %g",
            isa.name, dLogScale, only(expected.dLogScale));
      // One part is itself; a NaN anywhere is met.
      Tensor one = expected.stats;
      const Tensor same = run(tableOf<T>(isa), Op::combineStats, params::combineStats{1}, {&one})[0];
      CHECK(same.bytes == one.bytes, "%s: one rank", isa.name);
      all.as<T>()[0 * 15 + 1] = all.as<T>()[3 * 15 + 3 * 2 + 2] = std::numeric_limits<T>::quiet_NaN();
      const Tensor poisoned = combine();
      CHECK(std::isnan(poisoned.as<T>()[1]) && std::isnan(poisoned.as<T>()[3 * 2 + 2]), "%s: NaN vanished", isa.name);
    }
}

// What a guide scores above the positive, less a margin, takes no part, in whatever columns are here.
template <class T>
void checkExcluded(const cpu::Isa& isa, std::mt19937& rng) {
  for (const auto& counts : {kAlone, kThree, kRagged})
    for (int64_t relative : {0, 1}) {
      Contrast c = contrast<T>(5, counts, 2, true, 0.7, rng);
      const Tensor scores = c.scores;
      Tensor guide = random<T>({5, c.columns()}, rng), positives = make<T>({5}, std::vector<T>(5));
      for (int64_t r = 0; r < 5; ++r)
        positives.as<T>()[r] = guide.as<T>()[r * c.columns() + c.positive(c.firstRow + r)];
      const auto exclude = [&](Contrast& part, Tensor& of) {
        run(tableOf<T>(isa), Op::excludeAbove, params::excludeAbove{part.firstRow, part.firstQuery, relative, 0.25},
            {&part.scores, &of, &positives, &part.groups});
      };
      exclude(c, guide);
      int64_t excluded = 0;
      for (int64_t r = 0; r < 5; ++r)
        for (int64_t j = 0; j < c.columns(); ++j) {
          const int64_t k = r * c.columns() + j;
          const double positive = positives.as<T>()[r], most = positive - 0.25 * (relative ? std::abs(positive) : 1);
          const bool above = guide.as<T>()[k] > static_cast<T>(most) && j != c.positive(c.firstRow + r);
          CHECK(c.scores.as<T>()[k] == (above ? static_cast<T>(-kInfinity) : scores.as<T>()[k]), "%s: [%d, %d]",
                isa.name, (int)r, (int)j);
          excluded += above;
        }
      CHECK(excluded > 0, "%s: a test that excludes nothing", isa.name);
      const double expected = contrastiveReference<T>(c);
      const Outcome o = contrastive<T>(isa, c);
      CHECK(std::abs(only(o.loss) - expected) < (sizeof(T) == 4 ? 1e-5 : 1e-12), "%s: loss %g, expected %g", isa.name,
            only(o.loss), expected);
      CHECK(std::isfinite(only(o.dLogScale)), "%s: the temperature's gradient", isa.name);
      for (int64_t k = 0; k < scores.meta.count(); ++k)
        if (c.scores.as<T>()[k] == static_cast<T>(-kInfinity))
          CHECK(o.gradient.as<T>()[k] == 0, "%s: an excluded column has a gradient", isa.name);
      // Columns of which nothing is left, as a rank may have them.
      Contrast part = c;
      const int64_t first = c.positive(7), last = c.positive(8);
      part.firstQuery = 7;
      part.scores = columnsOf<T>(scores, first, last);
      part.dSegments = segments(std::vector<int64_t>(static_cast<size_t>(last - first), 2));
      Tensor high = part.scores;
      for (int64_t k = 0; k < high.meta.count(); ++k) high.as<T>()[k] = 100;
      exclude(part, high);
      const Tensor stats =
          run(tableOf<T>(isa), Op::rowStats, params::rowStats{c.firstRow, 7, c.learned},
              {&part.scores, &c.logScale, &part.dSegments, &c.groups, &c.qDuplicates, &c.dDuplicates})[0];
      for (int64_t k = 0; k < 15; ++k)
        CHECK(stats.as<T>()[k] == (k % 3 == 1 ? T(0) : static_cast<T>(-kInfinity)), "%s: nothing is left", isa.name);
    }
}

// Every gradient by central differences of the loss the kernels compute.
void differentiate(const cpu::Isa& isa, std::mt19937& rng) {
  for (bool weights : {false, true}) {
    Contrast c = contrast<double>(4, {2, 1, 5, 1, 1, 2}, 1, true, 0.7, rng);
    if (!weights) c.weights = none();
    const Outcome o = contrastive<double>(isa, c);
    const auto slope = [&](double& x) {
      const double kept = x, step = 1e-6;
      x = kept + step;
      const double up = only(contrastive<double>(isa, c).loss);
      x = kept - step;
      const double down = only(contrastive<double>(isa, c).loss);
      x = kept;
      return (up - down) / (2 * step);
    };
    double error = 0;
    for (int64_t k = 0; k < c.scores.meta.count(); ++k)
      error = std::max(error, std::abs(slope(c.scores.as<double>()[k]) - o.gradient.as<double>()[k]));
    error = std::max(error, std::abs(slope(c.logScale.as<double>()[0]) - o.dLogScale.as<double>()[0]));
    CHECK(error < 1e-8, "%s: contrastive gradients off by %g", isa.name, error);
    c.logScale.as<double>()[0] = 5;  // above ln 100: clamped
    CHECK(only(contrastive<double>(isa, c).dLogScale) == 0, "%s: clamped scale has a gradient", isa.name);
    CHECK(std::abs(only(contrastive<double>(isa, c).loss) - contrastiveReference<double>(c)) < 1e-10, "%s", isa.name);
    c.learned = 0;  // fixed: taken as given, and so is its gradient
    CHECK(std::abs(only(contrastive<double>(isa, c).loss) - contrastiveReference<double>(c)) < 1e-10, "%s", isa.name);
    const Outcome fixed = contrastive<double>(isa, c);
    CHECK(std::abs(slope(c.logScale.as<double>()[0]) - only(fixed.dLogScale)) < 1e-6, "%s: fixed scale", isa.name);
  }
}

template <class T>
void edges(const cpu::Isa& isa, std::mt19937& rng) {
  // Every document is the same text: nothing but the positive is left.
  Contrast c = contrast<T>(4, {1, 1, 1, 1}, 0, true, 1, rng);
  c.dSegments = segments({2, 2, 2, 2});
  c.dDuplicates = make<int32_t>({4}, {7, 7, 7, 7});
  Outcome o = contrastive<T>(isa, c);
  CHECK(o.loss.as<T>()[0] == 0 && o.dLogScale.as<T>()[0] == 0, "%s: %g", isa.name, (double)o.loss.as<T>()[0]);
  for (int64_t k = 0; k < 16; ++k) CHECK(o.gradient.as<T>()[k] == 0, "%s", isa.name);
  // Excluded columns are skipped even when they are no numbers; included ones poison the loss.
  c = contrast<T>(3, {1, 1, 1, 1, 1, 1}, 0, false, 1, rng);
  c.scores.as<T>()[4] = static_cast<T>(-kInfinity);  // column 4 is empty
  CHECK(c.excluded(0, 4), "the test's own assumption");
  c.scores.as<T>()[2 * 6 + 4] = std::numeric_limits<T>::quiet_NaN();
  o = contrastive<T>(isa, c);
  CHECK(std::isfinite(o.loss.as<T>()[0]) && std::isfinite(o.dLogScale.as<T>()[0]), "%s: excluded columns count",
        isa.name);
  c.scores.as<T>()[3] = std::numeric_limits<T>::quiet_NaN();
  CHECK(std::isnan(only(contrastive<T>(isa, c).loss)), "%s: NaN vanished", isa.name);
  // A row of weight 0 takes no part.
  c.weights.as<T>()[0] = 0;
  o = contrastive<T>(isa, c);
  CHECK(std::isfinite(o.loss.as<T>()[0]) && o.gradient.as<T>()[3] == 0, "%s: weight 0", isa.name);
  // Large logits.
  c = contrast<T>(3, {1, 1, 1, 1, 1, 1}, 0, false, 4, rng);
  for (int64_t k = 0; k < 18; ++k) c.scores.as<T>()[k] *= 1000;
  o = contrastive<T>(isa, c);
  const double expected = [&] {
    double loss = 0;
    for (int64_t r = 0; r < 3; ++r) {
      double max = -kInfinity;
      if (c.excluded(r, r)) continue;
      for (int64_t j = 0; j < 6; ++j)
        if (!c.excluded(r, j)) max = std::max(max, static_cast<double>(c.scores.as<T>()[r * 6 + j]));
      loss += c.weights.as<T>()[r] * std::exp(4.0) * (max - c.scores.as<T>()[r * 6 + r]);
    }
    return loss * c.normalizer;
  }();
  CHECK(std::abs(o.loss.as<T>()[0] - expected) <= 1e-4 * (1 + expected), "%s: %g, expected %g", isa.name,
        (double)o.loss.as<T>()[0], expected);
}

struct Lists {
  Tensor scores, teacher, groups, dSegments, logScale;
  double normalizer = 0.5;
  bool minMax = true;
  int64_t learned = 1;
};

template <class T>
Lists lists(std::mt19937& rng) {
  Lists l;
  l.scores = random<T>({12}, rng, 2);
  l.teacher = random<T>({12}, rng);
  l.groups = make<int64_t>({6}, {0, 5, 5, 6, 8, 12});
  l.dSegments = segments({1, 2, 0, 3, 1, 1, 0, 0, 0, 2, 2, 2});
  l.logScale = make<T>({1}, {T(0.9)});
  return l;
}

struct Distilled {
  Tensor gradient, loss, dLogScale;
};

template <class T>
Distilled distil(const cpu::Isa& isa, Lists& l) {
  Distilled r{none(), make<T>({1}, {T(0)}), make<T>({1}, {T(0)})};
  r.gradient = run(tableOf<T>(isa), Op::distillLoss, params::distillLoss{l.minMax, l.learned, l.normalizer},
                   {&l.scores, &l.teacher, &l.groups, &l.logScale, &l.dSegments, &r.loss, &r.dLogScale})[0];
  return r;
}

template <class T>
Distilled margins(const cpu::Isa& isa, Lists& l) {
  Distilled r{none(), make<T>({1}, {T(0)}), make<T>({1}, {T(0)})};
  r.gradient = run(tableOf<T>(isa), Op::marginMse, params::marginMse{l.normalizer},
                   {&l.scores, &l.teacher, &l.groups, &l.dSegments, &r.loss})[0];
  return r;
}

template <class T>
std::vector<int64_t> members(const Lists& l, int64_t row) {
  std::vector<int64_t> result;
  for (int64_t j = l.groups.as<int64_t>()[row]; j < l.groups.as<int64_t>()[row + 1]; ++j)
    if (l.dSegments.as<int64_t>()[j] < l.dSegments.as<int64_t>()[j + 1]) result.push_back(j);
  return result;
}

template <class T>
double distilReference(const Lists& l) {
  double loss = 0;
  const T* s = l.scores.as<T>();
  const T* t = l.teacher.as<T>();
  for (int64_t row = 0; row + 1 < l.groups.meta.dims[0]; ++row) {
    const auto list = members<T>(l, row);
    double min = kInfinity, max = -kInfinity, p = 0, q = 0;
    for (int64_t j : list) min = std::min<double>(min, s[j]), max = std::max<double>(max, s[j]);
    const auto student = [&](int64_t j) {
      const double y = l.minMax ? (s[j] - min) / (max - min + 1e-8) : s[j];
      return y * std::exp(static_cast<double>(l.logScale.as<T>()[0]));
    };
    for (int64_t j : list) p += std::exp(t[j]), q += std::exp(student(j));
    for (int64_t j : list) loss += std::exp(t[j]) / p * (t[j] - std::log(p) - student(j) + std::log(q));
  }
  return l.normalizer * loss;
}

template <class T>
double marginReference(const Lists& l) {
  double loss = 0;
  const T* s = l.scores.as<T>();
  const T* t = l.teacher.as<T>();
  for (int64_t row = 0; row + 1 < l.groups.meta.dims[0]; ++row) {
    const auto list = members<T>(l, row);
    if (list.size() < 2 || list[0] != l.groups.as<int64_t>()[row]) continue;
    for (size_t k = 1; k < list.size(); ++k) {
      const double error = (s[list[0]] - s[list[k]]) - (t[list[0]] - t[list[k]]);
      loss += error * error / static_cast<double>(list.size() - 1);
    }
  }
  return l.normalizer * loss;
}

template <class T>
void checkLists(const cpu::Isa& isa, std::mt19937& rng) {
  const double tolerance = sizeof(T) == 4 ? 1e-5 : 1e-12;
  for (bool minMax : {false, true}) {
    Lists l = lists<T>(rng);
    l.minMax = minMax;
    const Distilled d = distil<T>(isa, l), m = margins<T>(isa, l);
    double expected = distilReference<T>(l);
    CHECK(std::abs(d.loss.as<T>()[0] - expected) < tolerance * (1 + expected), "%s: distillation %g, expected %g",
          isa.name, (double)d.loss.as<T>()[0], expected);
    expected = marginReference<T>(l);
    CHECK(std::abs(m.loss.as<T>()[0] - expected) < tolerance * (1 + expected), "%s: margins %g, expected %g", isa.name,
          (double)m.loss.as<T>()[0], expected);
    for (int64_t j : {2, 5, 6, 7, 8})  // empty, alone, or in a list of empty documents
      CHECK(d.gradient.as<T>()[j] == 0 && m.gradient.as<T>()[j] == 0, "%s: document %d has a gradient", isa.name,
            (int)j);
    for (int64_t j = 8; j < 12; ++j) CHECK(m.gradient.as<T>()[j] == 0, "%s: no positive, yet a gradient", isa.name);
    // Equal scores: no division by zero.
    std::fill_n(l.scores.as<T>(), 12, T(3));
    const Distilled equal = distil<T>(isa, l);
    CHECK(std::isfinite(equal.loss.as<T>()[0]) && std::isfinite(equal.gradient.as<T>()[0]), "%s: equal scores",
          isa.name);
    l.scores.as<T>()[2] = std::numeric_limits<T>::quiet_NaN();  // an empty document: does not matter
    CHECK(std::isfinite(only(distil<T>(isa, l).loss)), "%s: an empty document counts", isa.name);
    l.scores.as<T>()[1] = std::numeric_limits<T>::quiet_NaN();
    CHECK(std::isnan(only(distil<T>(isa, l).loss)), "%s: NaN vanished", isa.name);
    CHECK(std::isnan(only(margins<T>(isa, l).loss)), "%s: NaN vanished", isa.name);
    l = lists<T>(rng);
    l.logScale.as<T>()[0] = 6;
    CHECK(only(distil<T>(isa, l).dLogScale) == 0, "%s: clamped scale has a gradient", isa.name);
    l.learned = 0;
    const double fixed = distilReference<T>(l);
    CHECK(std::abs(only(distil<T>(isa, l).loss) - fixed) < tolerance * (1 + fixed), "%s: a fixed scale is clamped",
          isa.name);
  }
}

void differentiateLists(const cpu::Isa& isa, std::mt19937& rng) {
  for (int kind = 0; kind < 3; ++kind) {
    Lists l = lists<double>(rng);
    l.minMax = kind == 1;
    const auto result = [&] { return kind == 2 ? margins<double>(isa, l) : distil<double>(isa, l); };
    const Distilled d = result();
    double error = 0;
    const auto compare = [&](double& x, double gradient) {
      const double kept = x, step = 1e-6;
      x = kept + step;
      const double up = result().loss.as<double>()[0];
      x = kept - step;
      const double down = result().loss.as<double>()[0];
      x = kept;
      error = std::max(error, std::abs((up - down) / (2 * step) - gradient));
    };
    for (int64_t j = 0; j < 12; ++j) compare(l.scores.as<double>()[j], d.gradient.as<double>()[j]);
    compare(l.logScale.as<double>()[0], d.dLogScale.as<double>()[0]);
    CHECK(error < 1e-7, "%s: gradients of kind %d off by %g", isa.name, kind, error);
  }
}

}  // namespace
}  // namespace lateforge::testing

int main() {
  using namespace lateforge::testing;
  return onEveryIsa("loss", [](const lateforge::cpu::Isa& isa, std::mt19937& rng) {
    checkContrastive<float>(isa, rng);
    checkContrastive<double>(isa, rng);
    checkParts<float>(isa, rng);
    checkParts<double>(isa, rng);
    checkExcluded<float>(isa, rng);
    checkExcluded<double>(isa, rng);
    differentiate(isa, rng);
    edges<float>(isa, rng);
    edges<double>(isa, rng);
    checkLists<float>(isa, rng);
    checkLists<double>(isa, rng);
    differentiateLists(isa, rng);
  });
}
