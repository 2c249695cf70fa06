// Losses over blocks of MaxSim scores: contrastive (in three steps, so that blocks and ranks can be combined between
// them) and distillation. Rows are independent; sums over rows run in order. Excluded columns are skipped, never
// multiplied. Row sums are kept in double, whatever the scores are made of.
#include <algorithm>
#include <cmath>
#include <limits>

#include "../../cpu/kernels.h"
#include "../../cpu/loops.h"

namespace lateforge::cpu::LF_ISA {
namespace {

// The logit scale is stored as its logarithm. A learned one is clamped here (as CLIP does); a fixed one is what was
// asked for.
template <class T>
const T kMaxLogScale = std::log(T(100));

// In the stats of a row: no columns, no positive.
template <class T>
constexpr T kNothing = -std::numeric_limits<T>::infinity();

template <class T>
T scaleOf(const View& logScale, bool learned) {
  const T given = *logScale.as<T>();
  return std::exp(learned ? std::min(given, kMaxLogScale<T>) : given);
}

// The product, rounded: were it fused into a subtraction that follows, a row with nothing but its positive would not
// give exactly 0.
template <class T>
T product(T a, T b) {
  const volatile T rounded = a * b;
  return rounded;
}

template <class T>
bool clamped(const View& logScale, bool learned) {
  return learned && *logScale.as<T>() > kMaxLogScale<T>;
}

// Which columns take part in the softmax of a row; rows and columns are a part of a batch (native/ops/list.h). A column
// is left out when its document is empty, when its score is −∞, when it is another copy of the positive (an equal
// document), or when it is the positive of another query that is equal to this one.
struct Contrast {
  const int64_t* dSegments;    // [columns + 1]
  const int64_t* groups;       // [B + 1]
  const int32_t* qDuplicates;  // [B], or null
  const int32_t* dDuplicates;  // [D], or null
  int64_t columns, firstQuery;

  bool empty(int64_t column) const { return dSegments[column] == dSegments[column + 1]; }
  // The column of a query's positive, or −1 when it is not among these or empty.
  int64_t positive(int64_t query) const {
    const int64_t column = groups[query] - groups[firstQuery];
    return column >= 0 && column < columns && !empty(column) ? column : -1;
  }

  // Calls visit(column) for every column that takes part, in order, of the row `scores`.
  template <class T, class Visit>
  void each(int64_t query, const T* scores, const Visit& visit) const {
    const int64_t offset = groups[firstQuery], positive = groups[query];
    for (int64_t other = firstQuery, document = offset; document < offset + columns; ++other) {
      const bool sameQuery = qDuplicates && other != query && qDuplicates[other] == qDuplicates[query];
      for (; document < groups[other + 1]; ++document) {
        if (empty(document - offset) || (document == groups[other] && sameQuery)) continue;
        if (scores[document - offset] == kNothing<T>) continue;
        if (dDuplicates && document != positive && dDuplicates[document] == dDuplicates[positive]) continue;
        visit(document - offset);
      }
    }
  }
};

// `first` is the input that holds dSegments; groups and duplicates follow it.
Contrast contrastOf(const OpCall& call, int first, int64_t firstQuery) {
  const View& q = call.in[first + 2];
  const View& d = call.in[first + 3];
  return {call.in[first].as<int64_t>(),
          call.in[first + 1].as<int64_t>(),
          q.present() ? q.as<int32_t>() : nullptr,
          d.present() ? d.as<int32_t>() : nullptr,
          call.in[first].dims[0] - 1,
          firstQuery};
}

// A list of documents of one query, with a teacher's scores: documents [first, last) that are not empty.
struct List {
  const int64_t* dSegments;  // [P + 1]
  int64_t first, last;

  bool empty(int64_t document) const { return dSegments[document] == dSegments[document + 1]; }
  template <class Visit>
  void each(const Visit& visit) const {
    for (int64_t j = first; j < last; ++j)
      if (!empty(j)) visit(j);
  }
};

// log Σ exp(x_j) over a list.
template <class Value>
double logSumExp(const List& list, const Value& value) {
  double max = -std::numeric_limits<double>::infinity(), sum = 0;
  list.each([&](int64_t j) { max = std::max(max, static_cast<double>(value(j))); });
  list.each([&](int64_t j) { sum += std::exp(value(j) - max); });
  return max + std::log(sum);
}

// Student scores of a list, as they are or min-max normalised: y = (s − min) / (max − min + 1e-8). The gradient flows
// through the minimum and the maximum (the first of equals), as in PyLate.
template <class T>
struct Normalised {
  static constexpr double kEps = 1e-8;
  const T* scores;
  int64_t least = -1, greatest = -1;
  double min = 0, range = 1;

  Normalised(const List& list, const T* scores, bool minMax) : scores(scores) {
    if (!minMax) return;
    list.each([&](int64_t j) {
      if (least < 0 || scores[j] < scores[least]) least = j;
      if (greatest < 0 || scores[j] > scores[greatest]) greatest = j;
    });
    if (least < 0) return;
    min = scores[least];
    range = scores[greatest] - min + kEps;
  }
  double operator()(int64_t j) const { return (scores[j] - min) / range; }

  // From the gradient of y, already in `gradient`, to that of the scores.
  void backward(const List& list, T* gradient) const {
    if (least < 0) return;
    double direct = 0, stretched = 0;  // Σ dy and Σ dy · y
    list.each([&](int64_t j) {
      direct += gradient[j];
      stretched += gradient[j] * (*this)(j);
      gradient[j] = static_cast<T>(gradient[j] / range);
    });
    gradient[least] += static_cast<T>((stretched - direct) / range);
    gradient[greatest] -= static_cast<T>(stretched / range);
  }
};

template <class T>
void addInOrder(const double* parts, int64_t count, double factor, T* total) {
  double sum = 0;
  for (int64_t i = 0; i < count; ++i) sum += parts[i];
  *total += static_cast<T>(factor * sum);
}

}  // namespace

namespace kernels {

// scores, guide [rows, columns], positives [rows], groups [B + 1].
template <class T>
int32_t excludeAbove(const OpCall& call, char*) {
  const auto& p = call.as<params::excludeAbove>();
  const int64_t columns = call.in[0].dims[1];
  const int64_t* groups = call.in[3].as<int64_t>();
  const T margin = static_cast<T>(p.margin);
  forTasks(call.in[0].dims[0], [&](int64_t r) {
    T* scores = call.in[0].as<T>() + r * columns;
    const T* guide = call.in[1].as<T>() + r * columns;
    const T positive = call.in[2].as<T>()[r], most = positive - product(margin, p.relative ? std::abs(positive) : T{1});
    const int64_t own = groups[p.firstRow + r] - groups[p.firstQuery];
    for (int64_t j = 0; j < columns; ++j)
      if (guide[j] > most && j != own) scores[j] = kNothing<T>;
  });
  return 0;
}

// scores [rows, columns], logScale [1], dSegments [columns + 1], groups [B + 1], qDuplicates [B], dDuplicates [D],
// stats [rows, 3]. A logit of the positive that is −∞ is no number: −∞ means that there is no positive.
template <class T>
int32_t rowStats(const OpCall& call, char*) {
  const auto& p = call.as<params::rowStats>();
  const int64_t columns = call.in[0].dims[1];
  const Contrast contrast = contrastOf(call, 2, p.firstQuery);
  const T scale = scaleOf<T>(call.in[1], p.learned);
  forTasks(call.in[0].dims[0], [&](int64_t r) {
    const T* scores = call.in[0].as<T>() + r * columns;
    T* stats = call.out[0].as<T>() + 3 * r;
    const int64_t query = p.firstRow + r, positive = contrast.positive(query);
    T max = kNothing<T>;
    contrast.each(query, scores, [&](int64_t j) { max = std::max(max, product(scores[j], scale)); });
    double sum = 0;  // a NaN that the maximum passed over stays in the sum
    contrast.each(query, scores, [&](int64_t j) { sum += std::exp(product(scores[j], scale) - max); });
    stats[0] = max, stats[1] = static_cast<T>(sum), stats[2] = kNothing<T>;
    if (positive < 0) return;
    stats[2] = product(scores[positive], scale);
    if (stats[2] == kNothing<T>) stats[2] = std::numeric_limits<T>::quiet_NaN();
  });
  return 0;
}

// parts [ranks · rows, 3], stats [rows, 3]. Ranks are taken in order: the same bits wherever the parts come from.
template <class T>
int32_t combineStats(const OpCall& call, char*) {
  const int64_t ranks = call.as<params::combineStats>().ranks, rows = call.out[0].dims[0];
  const T* parts = call.in[0].as<T>();
  forBlocks(rows, rowBlock(3 * ranks), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      T max = kNothing<T>, positive = kNothing<T>;
      for (int64_t r = 0; r < ranks; ++r) {
        const T* part = parts + 3 * (r * rows + i);
        max = std::max(max, part[0]);
        if (part[2] != kNothing<T>) positive = part[2];
      }
      double sum = 0;
      for (int64_t r = 0; r < ranks; ++r) {
        const T* part = parts + 3 * (r * rows + i);
        if (part[1] != 0) sum += part[1] * std::exp(static_cast<double>(part[0]) - max);
      }
      T* stats = call.out[0].as<T>() + 3 * i;
      stats[0] = max, stats[1] = static_cast<T>(sum), stats[2] = positive;
    }
  });
  return 0;
}

// stats [rows, 3], weights, lse [rows], loss [1]
template <class T>
int32_t contrastiveLoss(const OpCall& call, char*) {
  const T* stats = call.in[0].as<T>();
  const T* weights = call.in[1].present() ? call.in[1].as<T>() : nullptr;
  T* lse = call.out[0].as<T>();
  double loss = 0;
  for (int64_t r = 0; r < call.in[0].dims[0]; ++r) {
    const T positive = stats[3 * r + 2];
    lse[r] = positive == kNothing<T> ? -kNothing<T> : stats[3 * r] + std::log(stats[3 * r + 1]);
    if (positive == kNothing<T> || (weights && weights[r] == 0)) continue;
    // Not lse − positive, which has lost what is small beside large logits.
    const double one = static_cast<double>(stats[3 * r] - positive) + std::log(static_cast<double>(stats[3 * r + 1]));
    loss += (weights ? weights[r] : T(1)) * one;
  }
  *call.in[2].as<T>() += static_cast<T>(call.as<params::contrastiveLoss>().normalizer * loss);
  return 0;
}

// scores [rows, columns] become their gradient; lse, weights [rows], logScale, dLogScale [1]; the rest as in rowStats.
template <class T>
int32_t softmaxGrad(const OpCall& call, char*) {
  const auto& p = call.as<params::softmaxGrad>();
  const int64_t rows = call.in[0].dims[0], columns = call.in[0].dims[1];
  const Contrast contrast = contrastOf(call, 3, p.firstQuery);
  const T scale = scaleOf<T>(call.in[2], p.learned);
  double* parts = static_cast<double*>(call.workspace);
  forTasks(rows, [&](int64_t r) {
    T* scores = call.in[0].as<T>() + r * columns;
    const T lse = call.in[1].as<T>()[r];
    const int64_t query = p.firstRow + r, positive = contrast.positive(query);
    const T weight = call.in[7].present() ? call.in[7].as<T>()[r] : T(1);
    const T factor = static_cast<T>(weight * p.normalizer * scale);
    int64_t done = 0;  // columns that have their gradient; those passed over get 0
    parts[r] = 0;
    if (weight != 0 && lse != -kNothing<T>)
      contrast.each(query, scores, [&](int64_t j) {
        std::fill(scores + done, scores + j, T(0));
        const T score = scores[j];
        scores[j] = factor * (std::exp(product(score, scale) - lse) - T(j == positive));
        parts[r] += static_cast<double>(scores[j]) * score;
        done = j + 1;
      });
    std::fill(scores + done, scores + columns, T(0));
  });
  if (call.in[8].present() && !clamped<T>(call.in[2], p.learned)) addInOrder(parts, rows, 1, call.in[8].as<T>());
  return 0;
}

// scores, teacher, dscores [P]; querySegments [n + 1], of P; logScale, loss, dLogScale [1]; dSegments [P + 1].
// KL(softmax(teacher) ‖ softmax(scale · student)) per list. PyLate's Distillation: minMax 1 and logScale 0, normalizer
// 1 / queries. sentence-transformers 6 divides teacher scores by the temperature too and multiplies the loss by its
// square: give it scaled teacher scores and normalizer.
template <class T>
int32_t distillLoss(const OpCall& call, char*) {
  const auto& p = call.as<params::distillLoss>();
  const int64_t rows = call.in[2].dims[0] - 1;
  const T* scores = call.in[0].as<T>();
  const T* teacher = call.in[1].as<T>();
  const int64_t* groups = call.in[2].as<int64_t>();
  T* gradient = call.out[0].as<T>();
  const double scale = scaleOf<T>(call.in[3], p.learned);
  double* losses = static_cast<double*>(call.workspace);
  double* dLogScales = losses + rows;
  forTasks(rows, [&](int64_t i) {
    const List list{call.in[4].as<int64_t>(), groups[i], groups[i + 1]};
    const Normalised<T> student(list, scores, p.minMax != 0);
    const double studentLse = logSumExp(list, [&](int64_t j) { return product(scale, student(j)); });
    const double teacherLse = logSumExp(list, [&](int64_t j) { return teacher[j]; });
    losses[i] = dLogScales[i] = 0;
    std::fill(gradient + list.first, gradient + list.last, T(0));
    list.each([&](int64_t j) {
      const double logit = product(scale, student(j)), logP = teacher[j] - teacherLse, logQ = logit - studentLse;
      const double target = std::exp(logP), dlogit = p.normalizer * (std::exp(logQ) - target);
      if (target != 0) losses[i] += target * (logP - logQ);
      dLogScales[i] += dlogit * logit;
      gradient[j] = static_cast<T>(dlogit * scale);
    });
    student.backward(list, gradient);
  });
  addInOrder(losses, rows, p.normalizer, call.in[5].as<T>());
  if (call.in[6].present() && !clamped<T>(call.in[3], p.learned)) addInOrder(dLogScales, rows, 1, call.in[6].as<T>());
  return 0;
}

// scores, teacher, dscores [P]; querySegments [n + 1], of P; dSegments [P + 1]; loss [1].
// Mean over a list's negatives of the squared difference between the student's margin (positive − negative) and the
// teacher's. The first document is the positive; a list without one, or without negatives, says nothing.
template <class T>
int32_t marginMse(const OpCall& call, char*) {
  const double normalizer = call.as<params::marginMse>().normalizer;
  const int64_t rows = call.in[2].dims[0] - 1;
  const T* scores = call.in[0].as<T>();
  const T* teacher = call.in[1].as<T>();
  const int64_t* groups = call.in[2].as<int64_t>();
  T* gradient = call.out[0].as<T>();
  double* losses = static_cast<double*>(call.workspace);
  forTasks(rows, [&](int64_t i) {
    const int64_t positive = groups[i];
    const List list{call.in[3].as<int64_t>(), positive, groups[i + 1]};
    losses[i] = 0;
    std::fill(gradient + list.first, gradient + list.last, T(0));
    if (list.first == list.last || list.empty(positive)) return;
    int64_t negatives = -1;
    list.each([&](int64_t) { ++negatives; });
    double total = 0;
    list.each([&](int64_t j) {
      if (j == positive) return;
      const double error =
          (static_cast<double>(scores[positive]) - scores[j]) - (static_cast<double>(teacher[positive]) - teacher[j]);
      const double slope = 2 * normalizer * error / negatives;
      losses[i] += error * error / negatives;
      gradient[j] = static_cast<T>(-slope);
      total += slope;
    });
    gradient[positive] = static_cast<T>(total);
  });
  addInOrder(losses, rows, normalizer, call.in[4].as<T>());
  return 0;
}

LF_INSTANTIATE(excludeAbove);
LF_INSTANTIATE(rowStats);
LF_INSTANTIATE(combineStats);
LF_INSTANTIATE(contrastiveLoss);
LF_INSTANTIATE(softmaxGrad);
LF_INSTANTIATE(distillLoss);
LF_INSTANTIATE(marginMse);

}  // namespace kernels

// A sum for each row: of G · S; the loss and the gradient of the temperature; the loss. rowStats needs none here.
namespace needs {

template <class T>
int64_t rowStats(const OpCall&) {
  return 0;
}

template <class T>
int64_t softmaxGrad(const OpCall& call) {
  return call.in[0].dims[0] * static_cast<int64_t>(sizeof(double));
}

template <class T>
int64_t distillLoss(const OpCall& call) {
  return 2 * (call.in[2].dims[0] - 1) * static_cast<int64_t>(sizeof(double));
}

template <class T>
int64_t marginMse(const OpCall& call) {
  return (call.in[2].dims[0] - 1) * static_cast<int64_t>(sizeof(double));
}

LF_INSTANTIATE_NEED(rowStats);
LF_INSTANTIATE_NEED(softmaxGrad);
LF_INSTANTIATE_NEED(distillLoss);
LF_INSTANTIATE_NEED(marginMse);

}  // namespace needs
}  // namespace lateforge::cpu::LF_ISA
