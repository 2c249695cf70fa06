// MaxSim's kernels on problems of every kind (checked by maxsim_checks.h): all edge cases; in the host emulation under
// many orders of lanes, warps and blocks with equal bits.
#include "maxsim_checks.h"

using namespace lateforge;
using namespace lateforge::cuda;
using namespace lateforge::testing;

namespace {

Problem all(const char* what, Lengths queries, Lengths documents, int64_t dim) {
  return {.queries = std::move(queries), .documents = std::move(documents), .dim = dim, .what = what};
}
Problem grouped(const char* what, int64_t dim) {
  return {.queries = {32, 0, 5, 70, 1},
          .documents = lengths(9, 0, 90),
          .dim = dim,
          .layout = Layout::grouped,
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
    p.clampNegatives = true;
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
}

template <class T>
void empty() {
  for (const Layout layout : {Layout::all, Layout::grouped, Layout::pairs}) {
    const std::vector<int64_t> none = layout == Layout::grouped ? std::vector<int64_t>{0, 0} : std::vector<int64_t>{};
    Problem p{.queries = {4}, .documents = {}, .dim = 8, .layout = layout, .pairs = none, .what = "no documents"};
    integers<T>(p);
    backward<T>(p);
    p.documents = {0, 0};
    p.pairs = layout == Layout::grouped ? std::vector<int64_t>{0, 2} : std::vector<int64_t>{0, 1, 0, 0};
    if (layout == Layout::all) p.pairs.clear();
    p.what = "empty documents";
    integers<T>(p);
    backward<T>(p);
    p.queries = {0};
    p.documents = {3, 0};
    p.what = "an empty query";
    integers<T>(p);
    backward<T>(p);
  }
  integers<T>(all("no queries", {}, {3, 2}, 8));
  backward<T>(all("no queries", {}, {3, 2}, 8));
  integers<T>(all("empty queries at the end", {30, 40, 30, 40, 0, 0}, {3, 2}, 16));
}

// One token, long queries, and dimensions that are no whole number of steps, in every layout.
template <class T>
void extremes() {
  for (const Problem& p : {all("one token each", {1, 1, 1}, Lengths(7, 1), 8), all("dim 24", {32, 5}, {30, 0, 3}, 24),
                           all("dim 136", {5, 33}, {17, 70}, 136), all("a query of 1024", {1024}, {19, 0}, 40)})
    inEveryLayout(p, [](const Problem& q) {
      integers<T>(q);
      backward<T>(q);
    });
}

// Equal similarities: the lowest token wins, and has the gradient.
template <class T>
void ties() {
  for (const int64_t rows : {8, 100})
    inEveryLayout(all("ties", {rows, 3}, {150, 1, 40}, 24), [](Problem p) {
      fill<T>(p, true);
      for (const int64_t token : {7, 8, 63, 64, 70, 149})  // all like token 3
        std::copy_n(p.d.begin() + 3 * p.dim, p.dim, p.d.begin() + token * p.dim);
      std::fill(p.d.begin() + 151 * p.dim, p.d.end(), 0.0f);
      fastAndReference([&] { checkExact(p, Runner<T>(p).forward(), truthOf(p), nameOf<T>()); });
      std::fill(p.q.begin(), p.q.end(), 0.0f);  // everything ties
      const Truth want = truthOf(p);
      for (const int32_t winner : want.winners) CHECK(winner == 0, "the test has ties");
      fastAndReference([&] { checkExact(p, Runner<T>(p).forward(), want, nameOf<T>()); });
    });
  useReference(false);
}

template <class T>
void notFinite() {
  const float nan = std::numeric_limits<float>::quiet_NaN(), far = std::numeric_limits<float>::infinity();
  const auto check = [&](Problem clean) {
    const int64_t dim = clean.dim;
    fill<T>(clean, true);
    for (const int64_t token : {0, 5, 15, 16, 66, 79, 100}) {
      Problem p = clean;
      p.d[token * dim + 3] = nan;
      p.d[(token == 79 ? 78 : token + 1) * dim] = token == 79 ? p.d[78 * dim] : nan;  // a later one does not win
      checkExact(p, Runner<T>(p).forward(), truthOf(p), nameOf<T>());
      CHECK(same(Runner<T>(p).forward(false).scores, Runner<T>(p).forward().scores), "NaN without winners");
    }
    Problem p = clean;
    p.q[33 * dim] = nan;
    checkExact(p, Runner<T>(p).forward(), truthOf(p), nameOf<T>());
    std::fill(p.q.begin(), p.q.end(), 0.0f);
    for (size_t row = 0; row < p.q.size() / static_cast<size_t>(dim); ++row)
      p.q[static_cast<int64_t>(row) * dim + 2] = 1;
    p.d[7 * dim + 2] = far;
    p.d[90 * dim + 2] = -far;
    for (int64_t token = 100; token < 164; ++token) p.d[token * dim + 2] = -far;
    checkExact(p, Runner<T>(p).forward(), truthOf(p), nameOf<T>());
  };
  fastAndReference([&] {
    for (const bool clampNegatives : {false, true}) {
      Problem p = all("not finite", {32, 20, 40, 40}, {80, 20, 0, 64}, 24);
      p.clampNegatives = clampNegatives;
      check(p);
      p.queries = {32, 20};
      inEveryLayout(p, check);
    }
  });
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

// Winners of every type, to the last token of a document and with none: where all values of the type are tokens too.
template <class T>
void longDocument(int64_t tokens) {
  inEveryLayout(all("long document", {1, 1}, {5, tokens, 0}, 8), [&](Problem p) {
    if (tokens > 1000 && p.layout == Layout::pairs) return;
    p.what += " of " + std::to_string(tokens);
    fill<T>(p, true);
    p.q[8] = 3;
    for (int f = 0; f < 8; ++f) p.d[(5 + tokens - 1) * 8 + f] = p.q[8 + f] > 0 ? 9 : -9;
    for (const bool clampNegatives : {false, true}) {
      p.clampNegatives = clampNegatives;
      if (clampNegatives) {  // the first query has no winner anywhere
        std::fill(p.q.begin(), p.q.begin() + 8, 0.0f);
        p.q[0] = 1;
        p.q[8] = -1;
        for (size_t at = 0; at < p.d.size(); at += 8) p.d[at] = at == static_cast<size_t>(5 + tokens - 1) * 8 ? -9 : -1;
      }
      const Truth want = truthOf(p);
      CHECK(std::count(want.winners.begin(), want.winners.end(), tokens - 1) > 0, "the last token wins");
      CHECK(!clampNegatives || p.layout == Layout::grouped || want.winners[0] < 0, "the floor wins");
      const Runner<T> run(p);
      const Gradients zero{std::vector<float>(p.q.size()), std::vector<float>(p.d.size())};
      std::vector<float> dscores(want.scores.size(), 0.5f);
      const Gradients got = run.backward(want.winners, dscores, zero);
      checkExact(p, run.forward(), want, nameOf<T>());
      // One number of it alone may be 0, where two queries cancel out.
      const auto last = got.dd.begin() + (5 + tokens - 1) * 8;
      CHECK(std::any_of(last, last + 8, [](float g) { return g != 0; }), "%s: the last token has no gradient",
            p.text());
      if (tokens > 1000) continue;
      useReference(true);
      const Gradients plain = run.backward(want.winners, dscores, zero);
      checkExact(p, run.forward(), want, nameOf<T>());
      useReference(false);
      CHECK(same(got.dq, plain.dq) && same(got.dd, plain.dd), "%s: other gradients than plain", p.text());
    }
  });
}

template <class T>
void documentsAround256() {
  for (const int64_t tokens : {255, 256, 257}) longDocument<T>(tokens);
}
void documentsAround65536() {
#ifndef __SANITIZE_ADDRESS__  // the host's loops over so many tokens are slow with sanitizers
  for (const int64_t tokens : {65535, 65536}) longDocument<F16>(tokens);
#endif
  longDocument<F16>(65537);
}

// Winners that are no tokens of their document give nothing and reach nothing.
template <class T>
void wildWinners() {
  for (const int64_t longest : {40, 300, 65600})
    inEveryLayout(all("wild winners", {3, 2}, {4, longest, 0}, 8), [&](Problem p) {
      fill<T>(p, true);
      const Truth truth = truthOf(p);
      std::vector<int32_t> wild = truth.winners, none = truth.winners;
      const auto list = p.list();
      size_t at = 0;
      for (const auto& [i, j] : list)
        for (int64_t row = 0; row < p.queries[i]; ++row, ++at) {
          const int64_t tokens = p.documents[j];
          if (number(0, 1)) continue;
          const int64_t most = longest < 256 ? 255 : longest < 65536 ? 65535 : 2147483647;
          if (tokens <= most) wild[at] = static_cast<int32_t>(number(0, 1) ? tokens : number(tokens, most));
          if (longest > 65536 && !number(0, 2)) wild[at] = static_cast<int32_t>(number(-2147483647 - 1, -2));
          none[at] = -1;
        }
      const std::vector<float> dscores(truth.scores.size(), 1.5f);
      const Gradients before = noise<T>(p);
      fastAndReference([&] {
        const Gradients got = Runner<T>(p).backward(wild, dscores, before);
        const Gradients want = Runner<T>(p).backward(none, dscores, before);
        CHECK(same(got.dq, want.dq) && same(got.dd, want.dd), "%s, %d tokens", p.text(), static_cast<int>(longest));
      });
    });
  useReference(false);
}

// More token rows than a block for each multiprocessor can own in shared memory, however much a block may take: sums of
// integers, exactly.
void limits() {
  for (const int64_t dim : {8, 136}) {
    Problem p = all("as many rows as shared memory holds", {3, 2}, Lengths(17, 3600), dim);
    fill<F16>(p, true);
    const Truth truth = truthOf(p);
    const std::vector<float> dscores(truth.scores.size(), 2);
    Gradients want{std::vector<float>(p.q.size()), std::vector<float>(p.d.size())};
    const Gradients got = Runner<F16>(p).backward(truth.winners, dscores, want);
    const auto q = offsetsOf(p.queries), d = offsetsOf(p.documents);
    size_t at = 0;
    for (const auto& [i, j] : p.list())
      for (int64_t row = q[i]; row < q[i + 1]; ++row, ++at)
        for (int64_t f = 0; f < dim; ++f) {
          const int64_t token = (d[j] + truth.winners[at]) * dim + f;
          want.dq[row * dim + f] += 2 * p.d[token];
          want.dd[token] += 2 * p.q[row * dim + f];
        }
    CHECK(same(got.dq, want.dq) && same(got.dd, want.dd), "%s, dim %d", p.text(), static_cast<int>(dim));
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
template <class T>
void farAway(const Problem& p) {
  constexpr int64_t kDim = 128, kBefore = (int64_t{1} << 31) / kDim, kTokens = 6, kTotal = kBefore + kTokens;
  constexpr int64_t kSize = sizeof(T);
  const Truth want = truthOf(p);
  const auto count = static_cast<int64_t>(want.scores.size()), rows = static_cast<int64_t>(p.q.size()) / kDim;
  std::vector<float> dscores(want.scores.size(), 0.5f);
  dscores.back() = -2;
  const Gradients zero{std::vector<float>(p.q.size()), std::vector<float>(p.d.size())};
  const Gradients near = Runner<T>(p).backward(want.winners, dscores, zero);

  std::vector<T> q, d;
  for (const float v : p.q) q.push_back(narrow<T>(v));
  for (const float v : p.d) d.push_back(narrow<T>(v));
  static void* const data = host::reserveDevice(kTotal * kDim * kSize);
  static void* const gradient = host::reserveDevice(kTotal * kDim * 4);
  CHECK(data && gradient, "address space");
  host::writeDevice(static_cast<char*>(data) + kBefore * kDim * kSize, d.data(), d.size() * sizeof(T));
  host::writeDevice(static_cast<char*>(gradient) + kBefore * kDim * 4, zero.dd.data(), zero.dd.size() * 4);
  const Lengths offsets = offsetsOf(p.queries);
  const Buffer<T> queries(q);
  const Buffer<int64_t> qSegments(offsets), dSegments({kBefore, kTotal}), pairs(p.pairs);
  const Buffer<float> scores(want.scores.size()), given(dscores), dq(zero.dq);
  const Buffer<uint8_t> winners(want.winners.size());
  const Buffer<char> workspace(1 << 20);
  for (const bool fast : {true, false}) {
    useReference(!fast);
    OpCall call{};
    call.op = Op::maxsim;
    const params::maxsim params{static_cast<int64_t>(p.layout), 1, 0};
    std::memcpy(call.params, &params, sizeof params);
    call.in[0] = queries.view(typeOf<T>(), {rows, kDim});
    call.in[1] = qSegments.view(DType::i64, {static_cast<int64_t>(offsets.size())});
    call.in[1].longest = *std::max_element(p.queries.begin(), p.queries.end());
    call.in[2] = queries.view(typeOf<T>(), {kTotal, kDim});
    call.in[2].data = data;
    call.in[3] = dSegments.view(DType::i64, {2});
    call.in[3].longest = kTokens;
    if (p.layout != Layout::all) call.in[4] = pairs.view(DType::i64, {static_cast<int64_t>(p.pairs.size())});
    call.out[0] = scores.view(DType::f32, {count});
    call.out[1] = winners.view(DType::u8, {static_cast<int64_t>(want.winners.size())});
    call.workspace = workspace.view(DType::u8, {1 << 20}).data;
    call.workspaceBytes = 1 << 20;
    char error[kErrorBytes] = "";
    Context context = testContext(error);
    CHECK(ops::maxsim(call, context) == 0, "%s", error);
    const std::vector<uint8_t> won = winners.values();
    checkExact(p, {scores.values(), {won.begin(), won.end()}}, want, nameOf<T>());
    if (!fast || p.layout == Layout::all) continue;  // their gradients would go over every row
    const params::maxsimBackward layout{params.layout};
    std::memcpy(call.params, &layout, sizeof layout);
    call.in[5] = call.out[1];
    call.in[6] = given.view(DType::f32, {count});
    call.in[7] = dq.view(DType::f32, {rows, kDim});
    call.in[8] = dq.view(DType::f32, {kTotal, kDim});
    call.in[8].data = gradient;
    CHECK(ops::maxsimBackward(call, context) == 0, "%s", error);
    std::vector<float> dd(p.d.size());
    host::readDevice(dd.data(), static_cast<char*>(gradient) + kBefore * kDim * 4, dd.size() * 4);
    CHECK(same(dq.values(), near.dq) && same(dd, near.dd), "%s: gradients far away", p.text());
  }
  useReference(false);
}
#endif

// Every kernel once, small: for tools that are slow.
template <class T>
void tiny() {
  const Lengths documents{33, 1, 0, 20};
  for (const Problem& p :
       {all("one short query", {8}, documents, 24), all("equal queries", Lengths(5, 20), documents, 24),
        all("mixed queries", {20, 3, 0, 32, 17, 20}, documents, 24), all("a long query", {3, 300}, documents, 8),
        all("many features", {20}, documents, 136), grouped("groups", 24), paired("pairs", 24)}) {
    integers<T>(p);
    backward<T>(p);
  }
}

#ifndef __CUDACC__
template <class T>
void farAwayInEveryLayout() {
  inEveryLayout(all("far away", {32, 5}, {6}, 128), [](Problem p) {
    fill<T>(p, true);
    farAway<T>(p);
  });
}
#endif

template <void (*half)(), void (*bfloat16)(), void (*full)()>
void each() {
  useReference(false);
  half();
  bfloat16();
  full();
}
#define EACH(suite) {#suite, each<suite<F16>, suite<Bf16>, suite<float>>}

}  // namespace

int main(int argc, char** argv) {
  // clang-format off
  return runSuites("cuda maxsim", argc, argv,
                   {EACH(tiny), EACH(shapes), EACH(gradients), EACH(empty), EACH(extremes), EACH(ties), EACH(notFinite),
                    EACH(wildWinners), EACH(documentsAround256), {"documentsAround65536", documentsAround65536}, {"limits", limits},
#ifndef __CUDACC__
                    EACH(farAwayInEveryLayout),
#endif
                    EACH(orders)});
  // clang-format on
}
