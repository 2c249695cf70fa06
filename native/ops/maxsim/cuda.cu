// MaxSim and its gradient (native/ops/maxsim/cpu.cc): which kernels run, and the plain ones, which take every type,
// dimension and layout. The fast ones are in mma.cu, simt.cu and backward.cu.
#include "../../cuda/device/shared.cuh"
#include "../../cuda/device/warp.cuh"
#include "../../cuda/ops.h"
#include "../../cuda/reference.h"
#include "cuda.h"

namespace lateforge::cuda {
namespace {

// qSegments [queries + 1], starts [pairs]: query rows of all pairs before each. One block: every lane sums a run of
// pairs, the sums are added in order.
struct FindStarts {
  static constexpr int kThreads = 1024, kMinBlocks = 1;
  PairList pairs;
  Dev<const int64_t> qSegments;
  Dev<int64_t> starts;

  static constexpr int64_t sharedBytes() { return sharedSize<int64_t>(kThreads / kWarp); }

  LF_DEVICE int64_t length(int64_t pair) const {
    const int64_t i = pairs.query(pair);
    return qSegments[i + 1] - qSegments[i];
  }

  LF_DEVICE void operator()() const {
    SharedMemory shared;
    Shared<int64_t> warps = shared.take<int64_t>(kThreads / kWarp);
    const int64_t run = (pairs.count + kThreads - 1) / kThreads;
    const int64_t first = run * thread(), last = first + run < pairs.count ? first + run : pairs.count;
    int64_t sum = 0;
    for (int64_t k = first; k < last; ++k) sum += length(k);
    int64_t before = sum;  // of the lanes of the warp up to this one
    for (int by = 1; by < kWarp; by *= 2) {
      const int64_t below = shuffleUp(before, by);
      if (lane() >= by) before += below;
    }
    if (lane() == kWarp - 1) warps[warp()] = before;
    syncThreads();
    before -= sum;
    for (int w = 0; w < warp(); ++w) before += warps[w];
    for (int64_t k = first; k < last; ++k) {
      starts[k] = before;
      before += length(k);
    }
  }
};

// q, d [rows, dim], scales [rows of d] of int8; scores [pairs]. A block per pair, a lane per query row, 128 at a time.
template <class T, class D = T>
struct PlainMaxsim {
  static constexpr int kThreads = 128, kMinBlocks = 4;
  MaxsimTokens<T> q;
  MaxsimTokens<D> d;
  PairList pairs;
  Dev<const int64_t> starts;
  Dev<float> scores;
  ArgmaxWriter argmax;
  bool clampNegatives;
  Dev<const float> scales = nullptr;

  static constexpr int64_t sharedBytes() { return sharedSize<float>(kThreads); }

  LF_DEVICE float similarity(int64_t row, int64_t token) const {
    const Dev<const T> a = q.data + row * q.dim;
    const Dev<const D> b = d.data + token * d.dim;
    if constexpr (std::is_same_v<T, D>) return innerProduct<T>(a, b, q.dim);
    const float scale = scales ? scales[token] : 1.0f;
    float sum = 0;
    for (int64_t k = 0; k < q.dim; ++k) sum = fusedMultiplyAdd(widen(a[k]), widen(b[k]) * scale, sum);
    return sum;
  }

  LF_DEVICE float best(int64_t row, int64_t j, int64_t winner) const {
    const int64_t tokens = d.length(j), from = d.begin(j);
    float most = -infinity();
    int64_t token = tokens ? 0 : -1;
    for (int64_t u = 0; u < tokens; ++u) {
      const float sim = similarity(row, from + u);
      if (!(sim > most) && sim == sim) continue;
      most = sim;
      token = u;
      if (sim != sim) break;  // the first NaN wins
    }
    if (!tokens || (clampNegatives && most < 0)) {
      most = 0;
      token = -1;
    }
    argmax.put(winner, token);
    return most;
  }

  LF_DEVICE void operator()() const {
    SharedMemory shared;
    Shared<float> most = shared.take<float>(kThreads);
    const int64_t pair = blockX(), i = pairs.query(pair), j = pairs.document(pair);
    const int64_t rows = q.length(i), from = q.begin(i), winner = starts ? starts[pair] : j * q.rows + from;
    float score = 0;
    for (int64_t first = 0; first < rows; first += kThreads) {
      const int64_t row = first + thread();
      if (row < rows) most[thread()] = best(from + row, j, winner + row);
      syncThreads();
      if (thread() == 0)
        for (int64_t r = first; r < rows && r < first + kThreads; r += kPart) {
          float part = 0;
          for (int64_t s = r; s < rows && s < r + kPart; ++s) part += most[s - first];
          score += part;
        }
      syncThreads();
    }
    if (thread() == 0) scores[pair] = score;
  }
};

// dq or dd: a thread per feature of a row, which goes over the pairs of its query or document in order. rows · dim /
// 256 blocks.
template <class T, bool ofQueries>
struct PlainGradient {
  static constexpr int kThreads = 256, kMinBlocks = 4;
  Gradient<T> x;

  LF_DEVICE void operator()() const {
    const MaxsimTokens<T>& own = ofQueries ? x.q : x.d;
    const int64_t at = blockX() * kThreads + thread(), row = at / own.dim, feature = at % own.dim;
    if (row >= own.rows) return;
    const int64_t s = sequenceOf(own.segments, own.sequences, row);
    const PairList::Range range = ofQueries ? x.pairs.ofQuery(s) : x.pairs.ofDocument(s);
    float sum = x.sum[at];
    for (int64_t k = range.first; k < range.last; k += range.step) {
      const int64_t i = x.pairs.query(k), j = x.pairs.document(k);
      const float g = x.dscores[k];
      if ((ofQueries ? i : j) != s || g == 0) continue;
      const int64_t begin = x.q.begin(i), winners = (x.starts ? x.starts[k] : j * x.q.rows + begin) - begin;
      const int64_t first = ofQueries ? row : begin, last = ofQueries ? row + 1 : begin + x.q.length(i);
      for (int64_t r = first; r < last; ++r) {
        const int64_t token = x.argmax.at(winners + r, x.d.length(j)), winner = x.d.begin(j) + token;
        if (token < 0 || !(ofQueries || winner == row)) continue;
        const T other = ofQueries ? x.d.data[winner * own.dim + feature] : x.q.data[r * own.dim + feature];
        sum = fusedMultiplyAdd(g, widen(other), sum);
      }
    }
    x.sum[at] = sum;
  }
};

// Where each pair's winners start goes to the front of the workspace.
int32_t findStarts(const OpCall& call, Context& context, MaxsimCall& m) {
  if (m.layout == Layout::all) return 0;
  const Dev<int64_t> starts = workspace<int64_t>(call, 0, m.pairs.count);
  m.starts = starts;
  return launch(context, {1}, FindStarts::sharedBytes(), FindStarts{m.pairs, m.qSegments, starts});
}

}  // namespace

MaxsimCall callOf(const OpCall& call, Layout layout, int64_t count) {
  const View &q = call.in[0], &qSegments = call.in[1], &d = call.in[2], &dSegments = call.in[3];
  MaxsimCall m{};
  m.layout = layout;
  m.queries = qSegments.count() - 1;
  m.documents = dSegments.count() - 1;
  m.queryTokens = q.rows();
  m.documentTokens = d.rows();
  m.dim = q.columns();
  m.longestQuery = qSegments.longest;
  m.qSegments = dev<const int64_t>(qSegments);
  m.dSegments = dev<const int64_t>(dSegments);
  m.pairs = {layout, dev<const int64_t>(call.in[4]), m.queries, m.documents, count};
  return m;
}

namespace ops {

int32_t maxsim(const OpCall& call, Context& context) {
  const auto p = call.as<params::maxsim>();
  const View &scores = call.out[0], &argmax = call.out[1];
  MaxsimCall m = callOf(call, static_cast<Layout>(p.layout), scores.count());
  m.clampNegatives = p.clampNegatives != 0;
  if (findStarts(call, context, m)) return 1;
  if (!useReference("maxsim") && fitsTensorCores(call, m)) return maxsimOnTensorCores(call, context, m);
  if (!useReference("maxsim") && fitsCores(call, m)) return maxsimOnCores(call, context, m);
  return withTokens(call.in[0].dtype, [&](auto zero) {
    using T = decltype(zero);
    return launch(context, {m.pairs.count}, PlainMaxsim<T>::sharedBytes(),
                  PlainMaxsim<T>{queriesOf<T>(call, m), documentsOf<T>(call, m), m.pairs, m.starts, dev<float>(scores),
                                 argmaxTo(argmax), m.clampNegatives});
  });
}

int32_t maxsimStored(const OpCall& call, Context& context) {
  const auto p = call.as<params::maxsimStored>();
  const View &d = call.in[2], &scales = call.in[5], &scores = call.out[0];
  MaxsimCall m = callOf(call, static_cast<Layout>(p.layout), scores.count());
  if (findStarts(call, context, m)) return 1;
  return withTokens(call.in[0].dtype, [&](auto zero) {
    using T = decltype(zero);
    const auto run = [&](auto stored) {
      using D = decltype(stored);
      const PlainMaxsim<T, D> kernel{queriesOf<T>(call, m),
                                     documentsOf<D>(call, m),
                                     m.pairs,
                                     m.starts,
                                     dev<float>(scores),
                                     ArgmaxWriter{},
                                     p.clampNegatives != 0,
                                     scales.present() ? dev<const float>(scales) : Dev<const float>(nullptr)};
      return launch(context, {m.pairs.count}, PlainMaxsim<T, D>::sharedBytes(), kernel);
    };
    return d.dtype == DType::f16 ? run(F16()) : run(int8_t());
  });
}

int32_t maxsimBackward(const OpCall& call, Context& context) {
  const View &dscores = call.in[6], &dq = call.in[7], &dd = call.in[8];
  MaxsimCall m = callOf(call, static_cast<Layout>(call.as<params::maxsimBackward>().layout), dscores.count());
  if (findStarts(call, context, m)) return 1;
  if (!useReference("maxsim") && fitsOwners(call, m)) return maxsimBackwardByOwner(call, context, m);
  return withTokens(call.in[0].dtype, [&](auto zero) {
    using T = decltype(zero);
    if (dq.present() &&
        launch(context, {divideUp(dq.count(), 256)}, 0, PlainGradient<T, true>{gradientOf<T>(call, m, dq)}))
      return 1;
    if (!dd.present()) return 0;
    return launch(context, {divideUp(dd.count(), 256)}, 0, PlainGradient<T, false>{gradientOf<T>(call, m, dd)});
  });
}

}  // namespace ops

// Where each pair's winners start.
int64_t needs::maxsimStored(const OpCall& call) {
  const bool all = static_cast<Layout>(call.as<params::maxsimStored>().layout) == Layout::all;
  return all ? 0 : (call.out[0].count() + 1) * static_cast<int64_t>(sizeof(int64_t));
}

// Where each pair's winners start, then the sums of the parts of queries that no tile holds whole (runTiles).
int64_t needs::maxsim(const OpCall& call) {
  const auto layout = static_cast<Layout>(call.as<params::maxsim>().layout);
  const int64_t pairs = call.out[0].count(), longest = call.in[1].longest, parts = divideUp(longest, kPart);
  const bool whole = longest <= kStackedRows && worthStacking(layout, call.in[1].count() - 1, parts);
  return (layout == Layout::all ? 0 : (pairs + 1) * static_cast<int64_t>(sizeof(int64_t))) +
         (parts > 1 && !whole ? pairs * parts * static_cast<int64_t>(sizeof(float)) : 0);
}

// Of all pairs the query of each row, else where each pair's winners start.
int64_t needs::maxsimBackward(const OpCall& call) {
  if (static_cast<Layout>(call.as<params::maxsimBackward>().layout) != Layout::all)
    return call.in[6].count() * static_cast<int64_t>(sizeof(int64_t));
  return call.in[8].present() ? call.in[0].rows() * static_cast<int64_t>(sizeof(int32_t)) : 0;
}

}  // namespace lateforge::cuda
