// Losses over blocks of MaxSim scores (native/ops/loss/cpu.cc, with the formulas and what is left out). Scores are
// float32; sums over a row are kept in double. A block owns a row of scores, a warp a list of documents.
#include "../../cuda/device/block.cuh"
#include "../../cuda/launch.h"
#include "../../cuda/ops.h"

namespace lateforge::cuda {
namespace {

constexpr float kMaxLogScale = 4.60517018598809137f;  // ln 100

// Only a learned scale is clamped.
LF_DEVICE float scaleOf(Dev<const float> logScale, bool learned) {
  return exponential(learned && logScale[0] > kMaxLogScale ? kMaxLogScale : logScale[0]);
}

// In the stats of a row: no columns, no positive.
LF_DEVICE float nothing() { return -infinity(); }

// Which columns take part in the softmax of a row.
struct Contrast {
  Dev<const int64_t> dSegments;    // [columns + 1]
  Dev<const int64_t> groups;       // [B + 1]
  Dev<const int32_t> qDuplicates;  // [B], or null
  Dev<const int32_t> dDuplicates;  // [D], or null
  Dev<int32_t> positiveOf;         // [columns]: the query whose positive it is, or −1; null without duplicates
  int64_t columns, queries, firstQuery;

  LF_DEVICE bool empty(int64_t column) const { return dSegments[column] == dSegments[column + 1]; }
  // The column of a query's positive, or −1 when it is not among these or empty.
  LF_DEVICE int64_t positive(int64_t query) const {
    const int64_t column = groups[query] - groups[firstQuery];
    return column >= 0 && column < columns && !empty(column) ? column : -1;
  }
  LF_DEVICE bool takesPart(int64_t query, int64_t column, float score) const {
    if (empty(column) || score == nothing()) return false;
    if (!qDuplicates) return true;
    const int32_t other = positiveOf[column];
    if (other >= 0 && other != query && qDuplicates[other] == qDuplicates[query]) return false;
    const int64_t document = groups[firstQuery] + column, positive = groups[query];
    return document == positive || dDuplicates[document] != dDuplicates[positive];
  }
};

constexpr int kRowThreads = 256;

// Fills positiveOf: the query of each column by binary search, so that no row has to search.
struct FindPositives {
  static constexpr int kThreads = kRowThreads, kMinBlocks = 4;
  Contrast contrast;

  LF_DEVICE void operator()() const {
    const int64_t column = blockX() * kThreads + thread();
    if (column >= contrast.columns) return;
    const int64_t document = contrast.groups[contrast.firstQuery] + column;
    int64_t query = contrast.firstQuery, end = contrast.queries;  // the last whose documents start no later
    while (end - query > 1) {
      const int64_t middle = query + (end - query) / 2;
      if (contrast.groups[middle] <= document)
        query = middle;
      else
        end = middle;
    }
    contrast.positiveOf[column] = contrast.groups[query] == document ? static_cast<int32_t>(query) : -1;
  }
};

// Rows of a block and their columns. `first` is the input that holds dSegments, groups and duplicates follow it;
// positiveOf lies `offset` bytes into the workspace.
int32_t contrastOf(const OpCall& call, Context& context, int first, int64_t offset, int64_t firstQuery,
                   Contrast& contrast) {
  const int64_t columns = call.in[first].rows() - 1;
  const bool duplicates = call.in[first + 2].present();
  contrast = {dev<const int64_t>(call.in[first]),
              dev<const int64_t>(call.in[first + 1]),
              dev<const int32_t>(call.in[first + 2]),
              dev<const int32_t>(call.in[first + 3]),
              duplicates ? workspace<int32_t>(call, offset, columns) : Dev<int32_t>{},
              columns,
              call.in[first + 1].rows() - 1,
              firstQuery};
  return duplicates ? launch(context, {divideUp(columns, kRowThreads)}, 0, FindPositives{contrast}) : 0;
}

// A thread per score.
struct ExcludeAbove {
  static constexpr int kThreads = kRowThreads, kMinBlocks = 4;
  Dev<float> scores;           // [rows, columns]
  Dev<const float> guide;      // [rows, columns]
  Dev<const float> positives;  // [rows]
  Dev<const int64_t> groups;   // [B + 1]
  int64_t rows, columns, firstRow, firstQuery;
  bool relative;
  float margin;

  LF_DEVICE void operator()() const {
    const int64_t i = blockX() * kThreads + thread();
    if (i >= rows * columns) return;
    const int64_t row = i / columns;
    const float positive = positives[row], size = positive < 0 ? -positive : positive;
    const float most = positive - product(margin, relative ? size : 1.0f);
    if (guide[i] > most && i % columns != groups[firstRow + row] - groups[firstQuery]) scores[i] = nothing();
  }
};

constexpr int64_t kRowScratch = sharedSize<double>(kRowThreads / kWarp);

struct RowStats {
  static constexpr int kThreads = kRowThreads, kMinBlocks = 4;
  Dev<const float> scores;    // [rows, columns]
  Dev<const float> logScale;  // [1]
  Dev<float> stats;           // [rows, 3]
  Contrast contrast;
  int64_t firstRow;
  bool learned;

  LF_DEVICE void operator()() const {
    SharedMemory shared;
    Shared<double> scratch = shared.take<double>(kThreads / kWarp);
    const int64_t row = blockX(), query = firstRow + row, columns = contrast.columns;
    const Dev<const float> mine = scores + row * columns;
    const float scale = scaleOf(logScale, learned);
    float max = nothing();  // passes over NaN, which stays in the sum
    for (int64_t j = thread(); j < columns; j += kThreads) {
      if (!contrast.takesPart(query, j, mine[j])) continue;
      const float logit = product(mine[j], scale);
      max = logit > max ? logit : max;
    }
    max = blockMax<kThreads>(max, recast<float>(scratch));
    double sum = 0;
    for (int64_t j = thread(); j < columns; j += kThreads)
      if (contrast.takesPart(query, j, mine[j])) sum += exponential(product(mine[j], scale) - max);
    sum = blockSum<kThreads>(sum, scratch);
    if (thread() != 0) return;
    const int64_t positive = contrast.positive(query);
    float logit = nothing();
    if (positive >= 0) {
      logit = product(mine[positive], scale);
      if (logit == nothing()) logit = notANumber();
    }
    stats[3 * row] = max;
    stats[3 * row + 1] = static_cast<float>(sum);
    stats[3 * row + 2] = logit;
  }
};

struct CombineStats {
  static constexpr int kThreads = kRowThreads, kMinBlocks = 4;
  Dev<const float> parts;  // [ranks · rows, 3]
  Dev<float> stats;        // [rows, 3]
  int64_t rows, ranks;

  LF_DEVICE void operator()() const {
    const int64_t row = blockX() * kThreads + thread();
    if (row >= rows) return;
    float max = nothing(), positive = nothing();
    for (int64_t r = 0; r < ranks; ++r) {
      const Dev<const float> part = parts + 3 * (r * rows + row);
      max = part[0] > max ? part[0] : max;
      if (part[2] != nothing()) positive = part[2];
    }
    double sum = 0;
    for (int64_t r = 0; r < ranks; ++r) {
      const Dev<const float> part = parts + 3 * (r * rows + row);
      if (part[1] != 0) sum += part[1] * exponential(static_cast<double>(part[0]) - max);
    }
    stats[3 * row] = max;
    stats[3 * row + 1] = static_cast<float>(sum);
    stats[3 * row + 2] = positive;
  }
};

// One block.
struct ContrastiveLoss {
  static constexpr int kThreads = kRowThreads, kMinBlocks = 1;
  Dev<const float> stats;    // [rows, 3]
  Dev<const float> weights;  // [rows], or null
  Dev<float> loss;           // [1]
  Dev<float> lse;            // [rows]
  int64_t rows;
  double normalizer;

  LF_DEVICE void operator()() const {
    SharedMemory shared;
    Shared<double> scratch = shared.take<double>(kThreads / kWarp);
    double sum = 0;
    for (int64_t r = thread(); r < rows; r += kThreads) {
      const float positive = stats[3 * r + 2];
      const float mine = positive == nothing() ? infinity() : stats[3 * r] + logarithm(stats[3 * r + 1]);
      lse[r] = mine;
      const float weight = weights ? weights[r] : 1.0f;
      // Not mine − positive, which has lost what is small beside large logits.
      if (positive != nothing() && weight != 0)
        sum +=
            weight * (static_cast<double>(stats[3 * r] - positive) + logarithm(static_cast<double>(stats[3 * r + 1])));
    }
    sum = blockSum<kThreads>(sum, scratch);
    if (thread() == 0) loss[0] += static_cast<float>(normalizer * sum);
  }
};

struct SoftmaxGrad {
  static constexpr int kThreads = kRowThreads, kMinBlocks = 4;
  Dev<float> scores;          // [rows, columns]
  Dev<const float> lse;       // [rows]
  Dev<const float> logScale;  // [1]
  Dev<const float> weights;   // [rows], or null
  Dev<double> parts;          // [rows]: Σ G · S of each
  Contrast contrast;
  int64_t firstRow;
  bool learned;
  double normalizer;

  LF_DEVICE void operator()() const {
    SharedMemory shared;
    Shared<double> scratch = shared.take<double>(kThreads / kWarp);
    const int64_t row = blockX(), query = firstRow + row, columns = contrast.columns;
    const int64_t positive = contrast.positive(query);
    const Dev<float> mine = scores + row * columns;
    const float scale = scaleOf(logScale, learned), weight = weights ? weights[row] : 1.0f, norm = lse[row];
    const float factor = static_cast<float>(weight * normalizer * scale);
    const bool wanted = weight != 0 && norm != infinity();
    double part = 0;
    for (int64_t j = thread(); j < columns; j += kThreads) {
      float gradient = 0;
      const float score = mine[j];
      if (wanted && contrast.takesPart(query, j, score)) {
        gradient = factor * (exponential(product(score, scale) - norm) - static_cast<float>(j == positive));
        part += static_cast<double>(gradient) * score;
      }
      mine[j] = gradient;
    }
    part = blockSum<kThreads>(part, scratch);
    if (thread() == 0) parts[row] = part;
  }
};

// One block: total += factor · Σ parts. Nothing when the logit scale (null: none that is learned) is clamped.
struct AddTotal {
  static constexpr int kThreads = kRowThreads, kMinBlocks = 1;
  Dev<const double> parts;    // [count]
  Dev<const float> logScale;  // [1], or null
  Dev<float> total;           // [1]
  int64_t count;
  double factor;

  LF_DEVICE void operator()() const {
    SharedMemory shared;
    Shared<double> scratch = shared.take<double>(kThreads / kWarp);
    if (logScale && logScale[0] > kMaxLogScale) return;
    double sum = 0;
    for (int64_t i = thread(); i < count; i += kThreads) sum += parts[i];
    sum = blockSum<kThreads>(sum, scratch);
    if (thread() == 0) total[0] += static_cast<float>(factor * sum);
  }
};

// The documents [first, last) of one query, dealt to the lanes of a warp; empty ones are passed over.
struct List {
  Dev<const int64_t> dSegments;  // [P + 1]
  int64_t first, last;

  LF_DEVICE bool empty(int64_t document) const { return dSegments[document] == dSegments[document + 1]; }
  template <class Visit>
  LF_DEVICE void each(const Visit& visit) const {
    for (int64_t j = first + lane(); j < last; j += kWarp)
      if (!empty(j)) visit(j);
  }
};

// log Σ exp(x_j) over a list.
template <class Value>
LF_DEVICE double logSumExp(const List& list, const Value& value, Site site = Site::current()) {
  double max = static_cast<double>(nothing()), sum = 0;
  list.each([&](int64_t j) {
    const double x = value(j);
    max = x > max ? x : max;
  });
  max = warpMax(max, site);
  list.each([&](int64_t j) { sum += exponential(value(j) - max); });
  return max + logarithm(warpSum(sum, site));
}

// The first of the smallest (sign 1) or greatest (sign −1) scores of a list; −1 when there is none.
LF_DEVICE int64_t extreme(const List& list, Dev<const float> scores, float sign, Site site = Site::current()) {
  int64_t best = -1;
  float value = 0;
  list.each([&](int64_t j) {
    if (best >= 0 && !(sign * scores[j] < value)) return;
    best = j;
    value = sign * scores[j];
  });
  for (int mask = kWarp / 2; mask > 0; mask /= 2) {
    const int64_t other = shuffleXor(best, mask, site);
    const float theirs = shuffleXor(value, mask, site);
    if (other < 0 || (best >= 0 && !(theirs < value || (theirs == value && other < best)))) continue;
    best = other;
    value = theirs;
  }
  return best;
}

constexpr int kListThreads = 128;

struct DistillLoss {
  static constexpr int kThreads = kListThreads, kMinBlocks = 4;
  Dev<const float> scores, teacher;  // [P]
  Dev<const float> logScale;         // [1]
  Dev<const int64_t> groups;         // [rows + 1], of P
  Dev<const int64_t> dSegments;      // [P + 1]
  Dev<float> gradient;               // [P]
  Dev<double> losses, dLogScales;    // [rows]
  int64_t rows;
  bool minMax, learned;
  double normalizer;

  LF_DEVICE void operator()() const {
    const int64_t row = blockX() * (kThreads / kWarp) + warp();
    if (row >= rows) return;
    const List list{dSegments, groups[row], groups[row + 1]};
    const int64_t least = minMax ? extreme(list, scores, 1) : -1, greatest = minMax ? extreme(list, scores, -1) : -1;
    const double min = least >= 0 ? scores[least] : 0;
    const double range = least >= 0 ? scores[greatest] - min + 1e-8 : 1;
    const double scale = scaleOf(logScale, learned);
    auto student = [&](int64_t j) { return (scores[j] - min) / range; };
    const double studentLse = logSumExp(list, [&](int64_t j) { return product(scale, student(j)); });
    const double teacherLse = logSumExp(list, [&](int64_t j) { return static_cast<double>(teacher[j]); });
    double loss = 0, dLogScale_ = 0, direct = 0, stretched = 0;  // the last two: Σ dy and Σ dy · y
    for (int64_t j = list.first + lane(); j < list.last; j += kWarp) gradient[j] = 0;
    list.each([&](int64_t j) {
      const double logit = product(scale, student(j)), logP = teacher[j] - teacherLse, logQ = logit - studentLse;
      const double target = exponential(logP), dlogit = normalizer * (exponential(logQ) - target);
      if (target != 0) loss += target * (logP - logQ);
      dLogScale_ += dlogit * logit;
      const float dy = static_cast<float>(dlogit * scale);
      direct += dy;
      stretched += dy * student(j);
      gradient[j] = least >= 0 ? static_cast<float>(dy / range) : dy;
    });
    loss = warpSum(loss);
    dLogScale_ = warpSum(dLogScale_);
    direct = warpSum(direct);
    stretched = warpSum(stretched);
    syncWarp();
    if (lane() != 0) return;
    losses[row] = loss;
    dLogScales[row] = dLogScale_;
    if (least < 0) return;
    gradient[least] += static_cast<float>((stretched - direct) / range);
    gradient[greatest] -= static_cast<float>(stretched / range);
  }
};

struct MarginMse {
  static constexpr int kThreads = kListThreads, kMinBlocks = 4;
  Dev<const float> scores, teacher;  // [P]
  Dev<const int64_t> groups;         // [rows + 1], of P
  Dev<const int64_t> dSegments;      // [P + 1]
  Dev<float> gradient;               // [P]
  Dev<double> losses;                // [rows]
  int64_t rows;
  double normalizer;

  LF_DEVICE void operator()() const {
    const int64_t row = blockX() * (kThreads / kWarp) + warp();
    if (row >= rows) return;
    const List list{dSegments, groups[row], groups[row + 1]};
    const int64_t positive = list.first;
    const bool says = list.first < list.last && !list.empty(positive);
    for (int64_t j = list.first + lane(); j < list.last; j += kWarp) gradient[j] = 0;
    int32_t negatives = 0;
    list.each([&](int64_t j) { negatives += j != positive; });
    negatives = warpSum(negatives);
    double loss = 0, total = 0;
    if (says)
      list.each([&](int64_t j) {
        if (j == positive) return;
        const double error =
            (static_cast<double>(scores[positive]) - scores[j]) - (static_cast<double>(teacher[positive]) - teacher[j]);
        const double slope = 2 * normalizer * error / negatives;
        loss += error * error / negatives;
        gradient[j] = static_cast<float>(-slope);
        total += slope;
      });
    loss = warpSum(loss);
    total = warpSum(total);
    syncWarp();
    if (lane() != 0) return;
    losses[row] = loss;
    if (says) gradient[positive] = static_cast<float>(total);
  }
};

Grid listGrid(int64_t rows) { return {divideUp(rows, kListThreads / kWarp)}; }

int32_t addTotal(Context& context, Dev<const double> parts, int64_t count, double factor, const View& logScale,
                 const View& total) {
  return launch(context, {1}, kRowScratch,
                AddTotal{parts, dev<const float>(logScale), dev<float>(total), count, factor});
}

}  // namespace

namespace ops {

int32_t excludeAbove(const OpCall& call, Context& context) {
  const auto p = call.as<params::excludeAbove>();
  const View& scores = call.in[0];
  return launch(context, {divideUp(scores.count(), kRowThreads)}, 0,
                ExcludeAbove{dev<float>(scores), dev<const float>(call.in[1]), dev<const float>(call.in[2]),
                             dev<const int64_t>(call.in[3]), scores.rows(), scores.columns(), p.firstRow, p.firstQuery,
                             p.relative != 0, static_cast<float>(p.margin)});
}

int32_t rowStats(const OpCall& call, Context& context) {
  const auto p = call.as<params::rowStats>();
  const View& scores = call.in[0];
  Contrast contrast;
  if (contrastOf(call, context, 2, 0, p.firstQuery, contrast)) return 1;
  return launch(context, {scores.rows()}, kRowScratch,
                RowStats{dev<const float>(scores), dev<const float>(call.in[1]), dev<float>(call.out[0]), contrast,
                         p.firstRow, p.learned != 0});
}

int32_t combineStats(const OpCall& call, Context& context) {
  const int64_t rows = call.out[0].rows();
  return launch(
      context, {divideUp(rows, kRowThreads)}, 0,
      CombineStats{dev<const float>(call.in[0]), dev<float>(call.out[0]), rows, call.as<params::combineStats>().ranks});
}

int32_t contrastiveLoss(const OpCall& call, Context& context) {
  return launch(
      context, {1}, kRowScratch,
      ContrastiveLoss{dev<const float>(call.in[0]), dev<const float>(call.in[1]), dev<float>(call.in[2]),
                      dev<float>(call.out[0]), call.in[0].rows(), call.as<params::contrastiveLoss>().normalizer});
}

int32_t softmaxGrad(const OpCall& call, Context& context) {
  const auto p = call.as<params::softmaxGrad>();
  const View& scores = call.in[0];
  const Dev<double> parts = workspace<double>(call, 0, scores.rows());
  Contrast contrast;
  if (contrastOf(call, context, 3, 8 * scores.rows(), p.firstQuery, contrast) ||
      launch(context, {scores.rows()}, kRowScratch,
             SoftmaxGrad{dev<float>(scores), dev<const float>(call.in[1]), dev<const float>(call.in[2]),
                         dev<const float>(call.in[7]), parts, contrast, p.firstRow, p.learned != 0, p.normalizer}))
    return 1;
  return call.in[8].present() ? addTotal(context, parts, scores.rows(), 1, p.learned ? call.in[2] : View{}, call.in[8])
                              : 0;
}

int32_t distillLoss(const OpCall& call, Context& context) {
  const auto p = call.as<params::distillLoss>();
  const int64_t rows = call.in[2].rows() - 1;
  const Dev<double> losses = workspace<double>(call, 0, rows), dLogScales = workspace<double>(call, 8 * rows, rows);
  if (launch(context, listGrid(rows), 0,
             DistillLoss{dev<const float>(call.in[0]), dev<const float>(call.in[1]), dev<const float>(call.in[3]),
                         dev<const int64_t>(call.in[2]), dev<const int64_t>(call.in[4]), dev<float>(call.out[0]),
                         losses, dLogScales, rows, p.minMax != 0, p.learned != 0, p.normalizer}) ||
      addTotal(context, losses, rows, p.normalizer, View{}, call.in[5]))
    return 1;
  return call.in[6].present() ? addTotal(context, dLogScales, rows, 1, p.learned ? call.in[3] : View{}, call.in[6]) : 0;
}

int32_t marginMse(const OpCall& call, Context& context) {
  const int64_t rows = call.in[2].rows() - 1;
  const double normalizer = call.as<params::marginMse>().normalizer;
  const Dev<double> losses = workspace<double>(call, 0, rows);
  if (launch(context, listGrid(rows), 0,
             MarginMse{dev<const float>(call.in[0]), dev<const float>(call.in[1]), dev<const int64_t>(call.in[2]),
                       dev<const int64_t>(call.in[3]), dev<float>(call.out[0]), losses, rows, normalizer}))
    return 1;
  return addTotal(context, losses, rows, normalizer, View{}, call.in[4]);
}

}  // namespace ops

// positiveOf, where there are duplicates; and a sum for each row: of G · S; the loss and the gradient of the
// temperature; the loss.
int64_t needs::rowStats(const OpCall& call) {
  return call.in[4].present() ? call.in[0].columns() * static_cast<int64_t>(sizeof(int32_t)) : 0;
}
int64_t needs::softmaxGrad(const OpCall& call) {
  const int64_t table = call.in[5].present() ? call.in[0].columns() * static_cast<int64_t>(sizeof(int32_t)) : 0;
  return call.in[0].rows() * static_cast<int64_t>(sizeof(double)) + table;
}
int64_t needs::distillLoss(const OpCall& call) { return 2 * needs::marginMse(call); }
int64_t needs::marginMse(const OpCall& call) { return (call.in[2].rows() - 1) * static_cast<int64_t>(sizeof(double)); }

}  // namespace lateforge::cuda
