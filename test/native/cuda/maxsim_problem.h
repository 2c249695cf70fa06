// A MaxSim problem, its answer by definition in double, and the ops run on it through their entry points.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#include "../../../native/cuda/device/number.cuh"
#include "../../../native/cuda/ops.h"
#include "../../../native/ops/shapes.h"
#include "device.h"

namespace lateforge::testing {

using Lengths = std::vector<int64_t>;

struct Problem {
  Lengths queries, documents;
  int64_t dim;
  Layout layout = Layout::all;
  std::vector<int64_t> pairs = {};  // offsets of the groups, or query, document, …
  bool clampNegatives = false;
  std::vector<float> q = {}, d = {};  // values that the type of the tokens holds
  std::string what = {};

  std::vector<std::pair<int64_t, int64_t>> list() const {  // in the order of the winners
    std::vector<std::pair<int64_t, int64_t>> all;
    const int64_t nq = static_cast<int64_t>(queries.size()), nd = static_cast<int64_t>(documents.size());
    if (layout == Layout::all)
      for (int64_t j = 0; j < nd; ++j)
        for (int64_t i = 0; i < nq; ++i) all.push_back({i, j});
    if (layout == Layout::grouped)
      for (int64_t i = 0; i < nq; ++i)
        for (int64_t j = pairs[i]; j < pairs[i + 1]; ++j) all.push_back({i, j});
    if (layout == Layout::pairs)
      for (size_t k = 0; k < pairs.size(); k += 2) all.push_back({pairs[k], pairs[k + 1]});
    return all;
  }
  int64_t scoreAt(size_t k, std::pair<int64_t, int64_t> pair) const {
    return layout == Layout::all ? pair.first * static_cast<int64_t>(documents.size()) + pair.second
                                 : static_cast<int64_t>(k);
  }
  const char* text() const { return what.c_str(); }
};

// The problem, whose layout is all pairs, and in the other layouts: f(problem) for each. As groups, query i has the
// i-th part of the documents; as pairs, some are there twice.
template <class F>
void inEveryLayout(Problem p, const F& f) {
  const auto nq = static_cast<int64_t>(p.queries.size()), nd = static_cast<int64_t>(p.documents.size());
  const std::string what = p.what;
  f(p);
  p.layout = Layout::grouped;
  p.what = what + ", groups";
  for (int64_t i = 0; i <= nq; ++i) p.pairs.push_back(nd * i / nq);
  f(p);
  p.layout = Layout::pairs;
  p.what = what + ", pairs";
  p.pairs.clear();
  for (int64_t j = nd - 1; j >= 0; --j)
    for (int64_t i = 0; i < nq; ++i) p.pairs.insert(p.pairs.end(), {i, j});
  p.pairs.insert(p.pairs.end(), {0, 0, nq - 1, nd - 1});
  f(p);
}

inline Lengths offsetsOf(const Lengths& lengths) {
  Lengths all{0};
  for (const int64_t n : lengths) all.push_back(all.back() + n);
  return all;
}

template <class T>
constexpr DType typeOf() {
  if constexpr (sizeof(T) == 4) return DType::f32;
  return std::is_same_v<T, cuda::F16> ? DType::f16 : DType::bf16;
}
template <class T>
const char* nameOf() {
  return lateforge::nameOf(typeOf<T>());
}
template <class T>
float rounded(double x) {
  return cuda::widen(cuda::narrow<T>(static_cast<float>(x)));
}

// Rows of about unit norm, or of small integers, whose products are exact in any order.
template <class T>
void fill(Problem& p, bool integers) {
  auto draw = [&](std::vector<float>& x, const Lengths& lengths) {
    std::normal_distribution<double> normal(0, 1 / std::sqrt(static_cast<double>(p.dim)));
    x.resize(static_cast<size_t>(offsetsOf(lengths).back() * p.dim));
    for (float& v : x) v = integers ? static_cast<float>(number(-8, 8)) : rounded<T>(normal(generator()));
  };
  draw(p.q, p.queries);
  draw(p.d, p.documents);
}

struct Answer {
  std::vector<float> scores;
  std::vector<int32_t> winners;  // −1: none
};
struct Gradients {
  std::vector<float> dq, dd;
};

inline double similarity(const Problem& p, int64_t row, int64_t token) {
  double sum = 0;
  for (int64_t k = 0; k < p.dim; ++k) sum += static_cast<double>(p.q[row * p.dim + k]) * p.d[token * p.dim + k];
  return sum;
}

struct Truth {
  std::vector<double> scores;
  std::vector<int32_t> winners;
  std::vector<double> best;  // of each winner
};
inline Truth truthOf(const Problem& p) {
  const auto q = offsetsOf(p.queries), d = offsetsOf(p.documents);
  const auto list = p.list();
  Truth truth;
  truth.scores.resize(list.size());
  for (size_t k = 0; k < list.size(); ++k) {
    const auto [i, j] = list[k];
    double score = 0;
    for (int64_t row = q[i]; row < q[i + 1]; ++row) {
      double best = -INFINITY;
      int32_t token = d[j] < d[j + 1] ? 0 : -1;
      for (int64_t u = d[j]; u < d[j + 1] && !std::isnan(best); ++u)
        if (const double sim = similarity(p, row, u); sim > best || std::isnan(sim)) {
          best = sim;
          token = static_cast<int32_t>(u - d[j]);
        }
      if (token < 0 || (p.clampNegatives && best < 0)) {
        best = 0;
        token = -1;
      }
      score += best;
      truth.winners.push_back(token);
      truth.best.push_back(best);
    }
    truth.scores[p.scoreAt(k, list[k])] = score;
  }
  return truth;
}

inline Lengths lengths(int n, int64_t least, int64_t most) {
  Lengths all;
  for (int i = 0; i < n; ++i) all.push_back(number(least, most));
  return all;
}

inline bool same(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
}

// Every value as it must be: NaN where the definition says NaN.
inline void checkExact(const Problem& p, const Answer& got, const Truth& want, const char* type) {
  size_t wrong = 0, wrongWinners = 0;
  for (size_t k = 0; k < want.scores.size(); ++k)
    wrong += !(got.scores[k] == want.scores[k] || (std::isnan(got.scores[k]) && std::isnan(want.scores[k])));
  CHECK(got.winners.size() == want.winners.size(), "%s %s: %zu winners", p.text(), type, got.winners.size());
  for (size_t k = 0; k < want.winners.size(); ++k) wrongWinners += got.winners[k] != want.winners[k];
  CHECK(!wrong && !wrongWinners, "%s %s: %zu of %zu scores, %zu of %zu winners", p.text(), type, wrong,
        want.scores.size(), wrongWinners, want.winners.size());
}

// The largest error of a score.
inline double errorOf(const std::vector<float>& got, const Truth& want) {
  double most = 0;
  for (size_t k = 0; k < got.size(); ++k) most = std::max(most, std::abs(got[k] - want.scores[k]));
  return most;
}

// The tensors of a problem on the device, and its ops.
template <class T>
class Runner {
 public:
  int64_t sharedLimit = testing::sharedLimit();

  explicit Runner(const Problem& p)
      : p_(p),
        q_(narrowed(p.q)),
        d_(narrowed(p.d)),
        qSegments_(offsetsOf(p.queries)),
        dSegments_(offsetsOf(p.documents)),
        pairs_(p.pairs) {}

  Answer forward(bool wantArgmax = true) const {
    const params::maxsim params{static_cast<int64_t>(p_.layout), wantArgmax, p_.clampNegatives};
    OpCall call = begin(Op::maxsim, params);
    const Inferred inferred = inferOf(Op::maxsim, &params, {});
    const auto scoreCount = static_cast<size_t>(inferred.out[0].count());
    const Buffer<float> scores(scoreCount);
    call.out[0] = viewOf(scores, inferred.out[0]);
    const Buffer<char> argmax(static_cast<size_t>(wantArgmax ? inferred.out[1].bytes() : 0));
    if (wantArgmax) call.out[1] = viewOf(argmax, inferred.out[1]);
    launch(call, cuda::ops::maxsim);
    if (!wantArgmax) return {scores.values(), {}};
    return {scores.values(), winnersIn(argmax.values(), inferred.out[1].dtype)};
  }

  // Scores by a function in place of the op.
  std::vector<float> scores(cuda::CudaOp op) const {
    const params::maxsim params{static_cast<int64_t>(p_.layout), 0, p_.clampNegatives};
    OpCall call = begin(Op::maxsim, params);
    const Inferred inferred = inferOf(Op::maxsim, &params, {});
    const Buffer<float> result(static_cast<size_t>(inferred.out[0].count()));
    call.out[0] = viewOf(result, inferred.out[0]);
    launch(call, op);
    return result.values();
  }

  // What the gradients were before, and what they are.
  Gradients backward(const std::vector<int32_t>& winners, const std::vector<float>& dscores, const Gradients& before,
                     bool wantQ = true, bool wantD = true) const {
    const params::maxsimBackward params{static_cast<int64_t>(p_.layout)};
    OpCall call = begin(Op::maxsimBackward, params);
    const params::maxsim forwardParams{params.layout, 1, p_.clampNegatives};
    const Inferred shapes = inferOf(Op::maxsim, &forwardParams, {});
    const Buffer<char> argmax(bytesOf(winners, shapes.out[1].dtype));
    const Buffer<float> given(dscores), dq(before.dq), dd(before.dd);
    call.in[5] = viewOf(argmax, shapes.out[1]);
    call.in[6] = viewOf(given, shapes.out[0]);
    if (wantQ) call.in[7] = dq.view(DType::f32, {rows(p_.queries), p_.dim});
    if (wantD) call.in[8] = dd.view(DType::f32, {rows(p_.documents), p_.dim});
    inferOf(Op::maxsimBackward, &params, {{5, metaOf(call.in[5])}, {6, metaOf(call.in[6])}});
    launch(call, cuda::ops::maxsimBackward);
    return {dq.values(), dd.values()};
  }

  // f(scores only, scores and winners, both gradients): calls that allocate nothing and do not wait, of these ops or of
  // another function in their place.
  template <class F>
  auto prepared(const F& f) const {
    const params::maxsim params{static_cast<int64_t>(p_.layout), 1, p_.clampNegatives};
    const params::maxsimBackward layout{params.layout};
    const Inferred shapes = inferOf(Op::maxsim, &params, {});
    OpCall winners = begin(Op::maxsim, params), gradient = begin(Op::maxsimBackward, layout);
    const Buffer<float> scores(static_cast<size_t>(shapes.out[0].count()));
    const Buffer<char> argmax(static_cast<size_t>(shapes.out[1].bytes()));
    const Buffer<float> dq(std::vector<float>(p_.q.size())), dd(std::vector<float>(p_.d.size()));
    winners.out[0] = gradient.in[6] = viewOf(scores, shapes.out[0]);
    winners.out[1] = gradient.in[5] = viewOf(argmax, shapes.out[1]);
    gradient.in[7] = dq.view(DType::f32, {rows(p_.queries), p_.dim});
    gradient.in[8] = dd.view(DType::f32, {rows(p_.documents), p_.dim});
    inferOf(Op::maxsimBackward, &layout, {{5, metaOf(gradient.in[5])}, {6, metaOf(gradient.in[6])}});
    for (OpCall* call : {&winners, &gradient}) call->workspaceBytes = cuda::workspaceOf(*call);
    const Buffer<char> workspace(static_cast<size_t>(std::max(winners.workspaceBytes, gradient.workspaceBytes)));
    for (OpCall* call : {&winners, &gradient}) call->workspace = workspace.view(DType::u8, {1}).data;
    OpCall plain = winners;
    plain.out[1] = {};
    return f([&](cuda::CudaOp op = cuda::ops::maxsim) { issue(plain, op); },
             [&](cuda::CudaOp op = cuda::ops::maxsim) { issue(winners, op); },
             [&](cuda::CudaOp op = cuda::ops::maxsimBackward) { issue(gradient, op); });
  }

 private:
  static std::vector<T> narrowed(const std::vector<float>& values) {
    std::vector<T> all;
    for (const float v : values) all.push_back(cuda::narrow<T>(v));
    return all;
  }
  // Winners as the op has them, from and to tokens (−1: none, of which the largest value is the one that is written;
  // −2: another one).
  static std::vector<char> bytesOf(const std::vector<int32_t>& winners, DType type) {
    const auto size = static_cast<size_t>(sizeOf(type));
    std::vector<char> bytes(winners.size() * size);
    for (size_t at = 0; at < winners.size(); ++at) {
      const int32_t value = winners[at] == -1 && type == DType::i32 ? 0x7fffffff : winners[at];
      std::memcpy(bytes.data() + at * size, &value, size);  // little-endian, as every GPU's host is
    }
    return bytes;
  }
  std::vector<int32_t> winnersIn(const std::vector<char>& bytes, DType type) const {
    const auto size = static_cast<size_t>(sizeOf(type));
    const int32_t largest = type == DType::u8 ? 0xff : type == DType::u16 ? 0xffff : 0x7fffffff;
    std::vector<int32_t> winners;
    for (const auto& [i, j] : p_.list())
      for (int64_t row = 0; row < p_.queries[i]; ++row) {
        int32_t value = 0;
        std::memcpy(&value, bytes.data() + winners.size() * size, size);
        winners.push_back(value >= 0 && value < p_.documents[j] ? value : value == largest ? -1 : -2);
      }
    CHECK(winners.size() * size == bytes.size(), "%s: %zu bytes of winners", p_.text(), bytes.size());
    return winners;
  }
  static int64_t rows(const Lengths& lengths) { return offsetsOf(lengths).back(); }
  template <class U>
  static View viewOf(const Buffer<U>& buffer, const Meta& meta) {
    View view = buffer.view(meta.dtype, {});
    view.rank = meta.rank;
    std::copy_n(meta.dims, kMaxRank, view.dims);
    return view;
  }
  static Meta metaOf(const View& view) {
    Meta meta;
    meta.dtype = view.dtype;
    meta.rank = view.rank;
    std::copy_n(view.dims, kMaxRank, meta.dims);
    return meta;
  }
  static Meta integers(const std::vector<int64_t>& values) {
    Meta meta = Meta::of(DType::i64, {static_cast<int64_t>(values.size())});
    auto facts = std::make_shared<IntFacts>();
    facts->values = std::make_shared<const std::vector<int64_t>>(values);
    meta.facts = facts;
    return meta;
  }
  View segments(const Buffer<int64_t>& buffer, const std::vector<int64_t>& values) const {
    View view = buffer.view(DType::i64, {static_cast<int64_t>(values.size())});
    view.longest = longest(integers(values));
    return view;
  }

  template <class P>
  OpCall begin(Op op, const P& params) const {
    OpCall call{};
    call.op = op;
    std::memcpy(call.params, &params, sizeof params);
    call.in[0] = q_.view(typeOf<T>(), {rows(p_.queries), p_.dim});
    call.in[1] = segments(qSegments_, offsetsOf(p_.queries));
    call.in[2] = d_.view(typeOf<T>(), {rows(p_.documents), p_.dim});
    call.in[3] = segments(dSegments_, offsetsOf(p_.documents));
    if (p_.layout != Layout::all) call.in[4] = segments(pairs_, p_.pairs);
    return call;
  }
  Inferred inferOf(Op op, const void* params, const std::vector<std::pair<int, Meta>>& more) const {
    Meta in[kMaxInputs];
    in[0] = Meta::of(typeOf<T>(), {rows(p_.queries), p_.dim});
    in[1] = integers(offsetsOf(p_.queries));
    in[2] = Meta::of(typeOf<T>(), {rows(p_.documents), p_.dim});
    in[3] = integers(offsetsOf(p_.documents));
    if (p_.layout != Layout::all) in[4] = integers(p_.pairs);
    for (const auto& [at, meta] : more) in[at] = meta;
    Inferred inferred;
    const Status status = infer(op, params, in, inferred);
    CHECK(status.ok(), "%s: %s", p_.text(), status.message.c_str());
    return inferred;
  }
  void launch(OpCall& call, cuda::CudaOp op) const {
    call.workspaceBytes = cuda::workspaceOf(call);
    const Buffer<char> workspace(static_cast<size_t>(call.workspaceBytes));
    call.workspace = workspace.view(DType::u8, {call.workspaceBytes}).data;
    issue(call, op);
#ifdef __CUDACC__
    const cudaError_t status = cudaStreamSynchronize(testStream());
    CHECK(status == cudaSuccess, "%s", cudaGetErrorString(status));
#endif
  }
  void issue(const OpCall& call, cuda::CudaOp op) const {
    char error[kErrorBytes] = "";
    cuda::Context context{testStream(), sharedLimit, nullptr, error};
    CHECK(op(call, context) == 0, "%s: %s", p_.text(), error);
  }

  const Problem& p_;
  Buffer<T> q_, d_;
  Buffer<int64_t> qSegments_, dSegments_, pairs_;
};

inline void useReference(bool yes) {
  if (yes)
    setenv("LATEFORGE_CUDA_REFERENCE", "attention,maxsim", 1);
  else
    unsetenv("LATEFORGE_CUDA_REFERENCE");
}

}  // namespace lateforge::testing
