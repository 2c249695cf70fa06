// MaxSim's kernels against the definition: small integers bit for bit with their winners, random vectors by tolerance
// and winners by regret; the fast backward bit for bit against the plain one; all edge cases; on the twin under many
// orders of lanes, warps and blocks with equal bits.
#include "maxsim_problem.h"

using namespace lateforge;
using namespace lateforge::cuda;
using namespace lateforge::testing;

namespace {

Lengths lengths(int n, int64_t least, int64_t most) {
  Lengths all;
  for (int i = 0; i < n; ++i) all.push_back(number(least, most));
  return all;
}

bool same(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
}

// Every value as it must be: NaN where the definition says NaN.
void checkExact(const Problem& p, const Answer& got, const Truth& want, const char* type) {
  size_t wrong = 0, wrongWinners = 0;
  for (size_t k = 0; k < want.scores.size(); ++k)
    wrong += !(got.scores[k] == want.scores[k] || (std::isnan(got.scores[k]) && std::isnan(want.scores[k])));
  CHECK(got.winners.size() == want.winners.size(), "%s %s: %zu winners", p.text(), type, got.winners.size());
  for (size_t k = 0; k < want.winners.size(); ++k) wrongWinners += got.winners[k] != want.winners[k];
  CHECK(!wrong && !wrongWinners, "%s %s: %zu of %zu scores, %zu of %zu winners", p.text(), type, wrong,
        want.scores.size(), wrongWinners, want.winners.size());
}

// The largest error of a score.
double errorOf(const std::vector<float>& got, const Truth& want) {
  double most = 0;
  for (size_t k = 0; k < got.size(); ++k) most = std::max(most, std::abs(got[k] - want.scores[k]));
  return most;
}

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
  useNaive(true);
  const Answer naive = run.forward();
  const double plain = errorOf(naive.scores, want);
  useNaive(false);
  const Answer got = run.forward();
  if (sizeof(T) == 4 || p.dim > 128)
    CHECK(same(got.scores, naive.scores) && got.winners == naive.winners, "%s %s: other bits than plain", p.text(),
          nameOf<T>());
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
void backward(Problem p, int64_t sharedLimit = 99 * 1024) {
  fill<T>(p, false);
  const Truth truth = truthOf(p);
  Runner<T> run(p);
  run.sharedLimit = sharedLimit;
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
  useNaive(true);
  const Gradients plain = run.backward(truth.winners, dscores, before);
  useNaive(false);
  CHECK(same(got.dq, plain.dq) && same(got.dd, plain.dd), "%s %s: other gradients than plain", p.text(), nameOf<T>());
  const Gradients onlyQ = run.backward(truth.winners, dscores, before, true, false);
  const Gradients onlyD = run.backward(truth.winners, dscores, before, false, true);
  CHECK(same(onlyQ.dq, got.dq) && same(onlyD.dd, got.dd), "%s %s: one side alone differs", p.text(), nameOf<T>());
  CHECK(same(onlyQ.dd, before.dd) && same(onlyD.dq, before.dq), "%s: a side nobody asked for", p.text());
}

Problem all(const char* what, Lengths queries, Lengths documents, int64_t dim) {
  return {.queries = std::move(queries), .documents = std::move(documents), .dim = dim, .what = what};
}
Problem grouped(const char* what, int64_t dim) {
  return {.queries = {32, 0, 5, 70, 1},
          .documents = lengths(9, 0, 90),
          .dim = dim,
          .layout = Layout::groups,
          .pairs = {0, 3, 4, 4, 8, 9},
          .what = what};
}
Problem paired(const char* what, int64_t dim) {
  Problem p{
      .queries = {32, 0, 5, 70, 1}, .documents = lengths(6, 0, 90), .dim = dim, .layout = Layout::pairs, .what = what};
  for (int k = 0; k < 12; ++k) p.pairs.insert(p.pairs.end(), {number(0, 4), number(0, 5)});
  return p;
}

// Which kernels these take: the first two a single one, the others a stacked one with tiles by count (equal lengths),
// by start (mixed), or of one query (long).
std::vector<Problem> problems() {
  const auto dim = [] { return 8 * number(1, 16); };
  return {
      all("one short query", {8}, lengths(7, 0, 100), dim()),
      all("two queries", {32, 40}, lengths(5, 0, 200), dim()),
      all("equal queries", Lengths(9, 32), lengths(5, 0, 150), dim()),
      all("queries of 48", Lengths(7, 48), {20, 1, 65}, dim()),
      all("mixed queries", lengths(40, 0, 32), lengths(4, 0, 70), dim()),
      all("a long query", {3, 300, 0, 257}, {40, 0, 64, 17}, dim()),
      all("a query of 1024", {1024}, {33, 5}, 64),
      grouped("groups", dim()),
      paired("pairs", dim()),
      all("stages", Lengths(5, 20), {1, 15, 16, 17, 63, 64, 65, 127, 128, 129}, 128),
      all("documents of one token", Lengths(4, 30), Lengths(70, 1), 32),
  };
}

template <class T>
void shapes() {
  for (Problem& p : problems()) {
    integers<T>(p);
    randoms<T>(p);
    p.floorZero = true;
    p.what += ", floor of zero";
    integers<T>(p);
  }
  for (const int64_t dim : {8, 24, 48, 56, 64, 72, 96, 104, 128, 136, 200}) {
    const std::string what = "dim " + std::to_string(dim);
    integers<T>(all(what.c_str(), {32, 20, 31, 32}, {30, 3}, dim));
    randoms<T>(all(what.c_str(), {32}, {30, 3}, dim));
  }
}

template <class T>
void gradients() {
  for (const Problem& p : problems()) backward<T>(p);
  for (const int64_t dim : {8, 64, 128, 136, 264}) backward<T>(all("dims", {20, 45}, {30, 3, 0, 200}, dim));
  backward<T>(all("many documents", {40}, lengths(40, 0, 9), 16));
  backward<T>(all("several rows for a warp", {40, 3}, lengths(30, 100, 250), 8));
  backward<T>(all("large shared memory", {70, 3}, {400}, 128), 227 * 1024);
}

void empty() {
  useNaive(false);
  for (const Layout layout : {Layout::all, Layout::groups, Layout::pairs}) {
    const std::vector<int64_t> none = layout == Layout::groups ? std::vector<int64_t>{0, 0} : std::vector<int64_t>{};
    Problem p{.queries = {4}, .documents = {}, .dim = 8, .layout = layout, .pairs = none, .what = "no documents"};
    integers<F16>(p);
    backward<F16>(p);
    p.documents = {0, 0};
    p.pairs = layout == Layout::groups ? std::vector<int64_t>{0, 2} : std::vector<int64_t>{0, 1, 0, 0};
    if (layout == Layout::all) p.pairs.clear();
    p.what = "empty documents";
    integers<F16>(p);
    backward<F16>(p);
    p.queries = {0};
    p.documents = {3, 0};
    p.what = "an empty query";
    integers<Bf16>(p);
    backward<Bf16>(p);
  }
  integers<F16>(all("no queries", {}, {3, 2}, 8));
  backward<F16>(all("no queries", {}, {3, 2}, 8));
  integers<F16>(all("empty queries at the end", {30, 40, 30, 40, 0, 0}, {3, 2}, 16));
}

void ties() {
  for (const int64_t rows : {8, 100}) {
    Problem p = all("ties", {rows}, {150, 1, 40}, 32);
    fill<F16>(p, true);
    for (const int64_t token : {7, 8, 63, 64, 70, 149})  // all like token 3
      std::copy_n(p.d.begin() + 3 * 32, 32, p.d.begin() + token * 32);
    std::fill(p.d.begin() + 151 * 32, p.d.end(), 0.0f);
    Truth want = truthOf(p);
    checkExact(p, Runner<F16>(p).forward(), want, "float16");
    for (size_t at = static_cast<size_t>(2 * rows); at < want.winners.size(); ++at)
      CHECK(want.winners[at] == 0, "the test has ties");
    std::fill(p.q.begin(), p.q.end(), 0.0f);  // everything ties
    checkExact(p, Runner<F16>(p).forward(), truthOf(p), "float16");
  }
}

template <class T>
void notFinite() {
  const float nan = std::numeric_limits<float>::quiet_NaN(), far = std::numeric_limits<float>::infinity();
  for (const bool fast : {true, false})
    for (const Lengths& queries : {Lengths{32, 20}, Lengths{32, 20, 40, 40}})
      for (const bool floorZero : {false, true}) {
        useNaive(!fast);
        Problem clean = all("not finite", queries, {80, 20, 0, 64}, 24);
        clean.floorZero = floorZero;
        fill<T>(clean, true);
        for (const int64_t token : {0, 5, 15, 16, 66, 79, 100}) {
          Problem p = clean;
          p.d[token * 24 + 3] = nan;
          p.d[(token == 79 ? 78 : token + 1) * 24] = token == 79 ? p.d[78 * 24] : nan;  // a later one does not win
          checkExact(p, Runner<T>(p).forward(), truthOf(p), nameOf<T>());
          CHECK(same(Runner<T>(p).forward(false).scores, Runner<T>(p).forward().scores), "NaN without winners");
        }
        Problem p = clean;
        p.q[33 * 24] = nan;
        checkExact(p, Runner<T>(p).forward(), truthOf(p), nameOf<T>());
        std::fill(p.q.begin(), p.q.end(), 0.0f);
        for (size_t row = 0; row < p.q.size() / 24; ++row) p.q[row * 24 + 2] = 1;
        p.d[7 * 24 + 2] = far;
        p.d[90 * 24 + 2] = -far;
        for (int64_t token = 100; token < 164; ++token) p.d[token * 24 + 2] = -far;
        checkExact(p, Runner<T>(p).forward(), truthOf(p), nameOf<T>());
      }
  useNaive(false);
  // A NaN gradient is not skipped, a zero gradient is, also where the winner is NaN.
  Problem p = all("NaN gradient", {2}, {3, 3}, 8);
  fill<T>(p, true);
  for (size_t k = 24; k < 48; ++k) p.d[k] = nan;
  const Gradients zero{std::vector<float>(16), std::vector<float>(48)};
  const Gradients got = Runner<T>(p).backward({0, 1, 2, 2}, {nan, 0}, zero);
  CHECK(std::isnan(got.dq[0]) && std::isnan(got.dq[8]) && std::isnan(got.dd[0]), "a NaN gradient vanished");
  const Gradients other = Runner<T>(p).backward({0, 1, 2, 2}, {1, 0}, zero);
  for (const float v : other.dq) CHECK(std::isfinite(v), "a zero gradient wrote");
  for (size_t k = 24; k < 48; ++k) CHECK(other.dd[k] == 0, "a zero gradient wrote");
}

// Winners beyond 16 bits.
void longDocument() {
  for (const int64_t tokens : {65534, 65535, 70001}) {
    Problem p = all("long document", {2}, {5, tokens}, 8);
    fill<F16>(p, true);
    for (int f = 0; f < 8; ++f) p.d[(5 + tokens - 1) * 8 + f] = p.q[f] > 0 ? 9 : -9;
    const Truth want = truthOf(p);
    CHECK(want.winners[2] == tokens - 1, "the last token wins");
    const Runner<F16> run(p);
    checkExact(p, run.forward(), want, "float16");
    const Gradients zero{std::vector<float>(p.q.size()), std::vector<float>(p.d.size())};
    const Gradients got = run.backward(want.winners, {0, 1}, zero);
    CHECK(got.dd[(5 + tokens - 1) * 8] == p.q[0] && got.dq[0] == p.d[(5 + tokens - 1) * 8], "%d tokens", (int)tokens);
  }
}

// Equal bits under all orders, no bank conflicts, and the same score in every layout.
template <class T>
void orders() {
  std::vector<Problem> some = problems();
  for (const size_t which : {size_t{1}, size_t{4}, size_t{5}, size_t{7}, size_t{8}}) {
    Problem& p = some[which];
    fill<T>(p, false);
    const Truth truth = truthOf(p);
    const Runner<T> run(p);
    std::vector<float> dscores(truth.scores.size(), 0.5f);
    const Gradients before = noise<T>(p);
    Answer first;
    Gradients gradient;
    underOrders([&] {
      const Answer got = run.forward();
      const Gradients g = run.backward(truth.winners, dscores, before);
      if (first.scores.empty()) {
        first = got;
        gradient = g;
      }
      CHECK(same(got.scores, first.scores) && got.winners == first.winners, "%s: another order", p.text());
      CHECK(same(g.dq, gradient.dq) && same(g.dd, gradient.dd), "%s: another order of gradients", p.text());
    });
#ifndef __CUDACC__
    CHECK(host::takeConflicts() == 0, "%s: bank conflicts", p.text());
#endif
  }
  Problem p = all("layouts", {32, 7, 40, 130, 300}, {80, 1, 33, 90}, 128);
  fill<T>(p, false);
  const Answer got = Runner<T>(p).forward();
  Problem pairs = p;
  pairs.layout = Layout::pairs;
  for (int64_t i = 0; i < 5; ++i)
    for (int64_t j = 0; j < 4; ++j) pairs.pairs.insert(pairs.pairs.end(), {i, j});
  CHECK(same(Runner<T>(pairs).forward().scores, got.scores), "pairs have other bits than all pairs");
}

#ifndef __CUDACC__
// A document that starts at element 2^31 of its buffer and byte 2^33 of its gradient: the same as by itself. The pages
// before it are never touched.
void farAway() {
  constexpr int64_t kDim = 128, kBefore = (int64_t{1} << 31) / kDim, kTokens = 6, kTotal = kBefore + kTokens;
  Problem p{.queries = {32, 5},
            .documents = {kTokens},
            .dim = kDim,
            .layout = Layout::pairs,
            .pairs = {0, 0, 1, 0, 0, 0},
            .what = "far away"};
  fill<F16>(p, true);
  const Truth want = truthOf(p);
  const std::vector<float> dscores{1, 0.5f, -2};
  const Gradients zero{std::vector<float>(p.q.size()), std::vector<float>(p.d.size())};
  const Gradients near = Runner<F16>(p).backward(want.winners, dscores, zero);

  std::vector<F16> q, d;
  for (const float v : p.q) q.push_back(narrow<F16>(v));
  for (const float v : p.d) d.push_back(narrow<F16>(v));
  static void* const rows = host::reserveDevice(kTotal * kDim * 2);
  static void* const gradient = host::reserveDevice(kTotal * kDim * 4);
  CHECK(rows && gradient, "address space");
  host::writeDevice(static_cast<char*>(rows) + kBefore * kDim * 2, d.data(), d.size() * 2);
  const Buffer<F16> queries(q);
  const Buffer<int64_t> qSegments({0, 32, 37}), dSegments({0, kBefore, kTotal}), pairs({0, 1, 1, 1, 0, 1});
  const Buffer<float> scores(3), given(dscores), dq(zero.dq);
  const Buffer<int32_t> winners(32 + 5 + 32);
  const Buffer<char> workspace(1 << 20);
  for (const bool fast : {true, false}) {
    useNaive(!fast);
    OpCall call{};
    call.op = Op::maxsim;
    const params::maxsim params{static_cast<int64_t>(Layout::pairs), 1, 0};
    std::memcpy(call.params, &params, sizeof params);
    call.in[0] = queries.view(DType::f16, {37, kDim});
    call.in[1] = qSegments.view(DType::i64, {3});
    call.in[1].longest = 32;
    call.in[2] = queries.view(DType::f16, {kTotal, kDim});
    call.in[2].data = rows;
    call.in[3] = dSegments.view(DType::i64, {3});
    call.in[3].longest = kBefore;
    call.in[4] = pairs.view(DType::i64, {6});
    call.out[0] = scores.view(DType::f32, {3});
    call.out[1] = winners.view(DType::i32, {69});
    call.workspace = workspace.view(DType::u8, {1 << 20}).data;
    call.workspaceBytes = 1 << 20;
    char error[kErrorBytes] = "";
    Context context{testStream(), 99 * 1024, nullptr, error};
    CHECK(ops::maxsim(call, context) == 0, "%s", error);
    checkExact(p, {scores.values(), winners.values()}, want, "float16");
    if (!fast) continue;  // the plain gradient would go over every row
    const params::maxsimBackward layout{params.layout};
    std::memcpy(call.params, &layout, sizeof layout);
    call.in[5] = call.out[1];
    call.in[6] = given.view(DType::f32, {3});
    call.in[7] = dq.view(DType::f32, {37, kDim});
    call.in[8] = dq.view(DType::f32, {kTotal, kDim});
    call.in[8].data = gradient;
    CHECK(ops::maxsimBackward(call, context) == 0, "%s", error);
    std::vector<float> dd(p.d.size());
    host::readDevice(dd.data(), static_cast<char*>(gradient) + kBefore * kDim * 4, dd.size() * 4);
    CHECK(same(dq.values(), near.dq) && same(dd, near.dd), "gradients far away");
  }
  useNaive(false);
}
#endif

}  // namespace

int main() {
  shapes<F16>();
  shapes<Bf16>();
  useNaive(false);
  shapes<float>();
  gradients<F16>();
  gradients<Bf16>();
  gradients<float>();
  empty();
  ties();
  notFinite<F16>();
  notFinite<Bf16>();
  notFinite<float>();
  longDocument();
#ifndef __CUDACC__
  farAway();
#endif
  orders<F16>();
  orders<Bf16>();
  orders<float>();
  return finish("cuda maxsim");
}
