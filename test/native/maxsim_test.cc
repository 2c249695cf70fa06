// MaxSim against a plain double reference, its backward against the definition and against finite differences, on every
// instruction set this processor has.
#include "maxsim.h"

#include <limits>
#include <string>

#include "../../native/cpu/team.h"

namespace lateforge::testing {
namespace {

template <class T>
void backward(const cpu::Isa& isa, Problem& p, Tensor& argmax, Tensor& dscores, Tensor* dq, Tensor* dd) {
  run(tableOf<T>(isa), Op::maxsimBackward, params::maxsimBackward{static_cast<int64_t>(p.layout)},
      {&p.q, &p.qSegments, &p.d, &p.dSegments, &p.pairs, &argmax, &dscores, dq, dd});
}

template <class T>
double dot(const Problem& p, int64_t row, int64_t token) {
  const int64_t dim = p.q.meta.dims[1];
  double sum = 0;
  for (int64_t k = 0; k < dim; ++k)
    sum += static_cast<double>(p.q.as<T>()[row * dim + k]) * static_cast<double>(p.d.as<T>()[token * dim + k]);
  return sum;
}

int64_t winner(const Tensor& argmax, int64_t at) {
  if (argmax.meta.dtype == DType::u8) return argmax.as<uint8_t>()[at];
  if (argmax.meta.dtype == DType::u16) return argmax.as<uint16_t>()[at];
  return argmax.as<int32_t>()[at];
}
// What is written where there is no winner.
int64_t noWinner(const Tensor& argmax) {
  if (argmax.meta.dtype == DType::u8) return 255;
  return argmax.meta.dtype == DType::u16 ? 65535 : 2147483647;
}

int64_t scoreAt(const Problem& p, size_t k) {
  return p.layout == Layout::all ? p.list[k].first * (p.dSegments.meta.dims[0] - 1) + p.list[k].second
                                 : static_cast<int64_t>(k);
}

template <class T>
void checkForward(const cpu::Isa& isa, Problem& p, const char* what) {
  const std::vector<Tensor> out = forward<T>(isa, p, true);
  const std::vector<Tensor> plain = forward<T>(isa, p, false);
  const double tolerance = sizeof(T) == 4 ? 3e-6 : 1e-14;
  const int64_t* q = p.qSegments.as<int64_t>();
  const int64_t* d = p.dSegments.as<int64_t>();
  int64_t at = 0;
  int wrong = 0, wrongWinners = 0;
  for (size_t k = 0; k < p.list.size(); ++k) {
    const auto [i, j] = p.list[k];
    double score = 0;
    for (int64_t row = q[i]; row < q[i + 1]; ++row, ++at) {
      double best = -std::numeric_limits<double>::infinity();
      for (int64_t token = d[j]; token < d[j + 1]; ++token) best = std::max(best, dot<T>(p, row, token));
      const bool none = d[j] == d[j + 1] || (p.clampNegatives && best < 0);
      if (!none) score += best;
      const int64_t w = winner(out[1], at);
      if (none ? w != noWinner(out[1]) : w < 0 || w >= d[j + 1] - d[j] || dot<T>(p, row, d[j] + w) < best - tolerance)
        ++wrongWinners;
    }
    const double got = out[0].as<T>()[scoreAt(p, k)];
    if (!(std::abs(got - score) <= tolerance * (1 + static_cast<double>(q[i + 1] - q[i])))) ++wrong;
  }
  CHECK(!wrong, "%s %s float%zu: %d scores of %zu", isa.name, what, 8 * sizeof(T), wrong, p.list.size());
  CHECK(!wrongWinners, "%s %s float%zu: %d winners", isa.name, what, 8 * sizeof(T), wrongWinners);
  CHECK(out[0].bytes == plain[0].bytes, "%s %s: scores differ without argmax", isa.name, what);
}

template <class T>
void checkBackward(const cpu::Isa& isa, Problem& p, std::mt19937& rng, const char* what) {
  std::vector<Tensor> out = forward<T>(isa, p, true);
  const int64_t dim = p.q.meta.dims[1];
  Tensor dscores = random<T>({out[0].meta.count()}, rng);
  dscores.meta = out[0].meta;
  for (int64_t k = 0; k < out[0].meta.count(); k += 3) dscores.as<T>()[k] = 0;
  Tensor dq = random<T>({p.q.meta.dims[0], dim}, rng), dd = random<T>({p.d.meta.dims[0], dim}, rng);
  std::vector<double> wantQ(dq.as<T>(), dq.as<T>() + dq.meta.count()), wantD(dd.as<T>(), dd.as<T>() + dd.meta.count());
  const int64_t* q = p.qSegments.as<int64_t>();
  const int64_t* d = p.dSegments.as<int64_t>();
  int64_t at = 0;
  for (size_t k = 0; k < p.list.size(); ++k) {
    const auto [i, j] = p.list[k];
    const double g = dscores.as<T>()[scoreAt(p, k)];
    for (int64_t row = q[i]; row < q[i + 1]; ++row, ++at) {
      const int64_t w = winner(out[1], at);
      for (int64_t f = 0; w < d[j + 1] - d[j] && f < dim; ++f) {
        wantQ[row * dim + f] += g * p.d.as<T>()[(d[j] + w) * dim + f];
        wantD[(d[j] + w) * dim + f] += g * p.q.as<T>()[row * dim + f];
      }
    }
  }
  Tensor onlyQ = dq, onlyD = dd;
  backward<T>(isa, p, out[1], dscores, &dq, &dd);
  backward<T>(isa, p, out[1], dscores, &onlyQ, nullptr);
  backward<T>(isa, p, out[1], dscores, nullptr, &onlyD);
  double error = 0;  // sums of many rows are large, and rounded as such
  const auto compare = [&](double want, double got) {
    error = std::max(error, std::abs(want - got) / (1 + std::abs(want)));
  };
  for (size_t k = 0; k < wantQ.size(); ++k) compare(wantQ[k], dq.as<T>()[k]);
  for (size_t k = 0; k < wantD.size(); ++k) compare(wantD[k], dd.as<T>()[k]);
  CHECK(error < (sizeof(T) == 4 ? 2e-5 : 1e-13), "%s %s: backward off by %g", isa.name, what, error);
  CHECK(dq.bytes == onlyQ.bytes && dd.bytes == onlyD.bytes, "%s %s: one side alone differs", isa.name, what);
}

std::vector<int64_t> lengths(int n, int64_t least, int64_t most, std::mt19937& rng) {
  std::vector<int64_t> result;
  for (int i = 0; i < n; ++i) result.push_back(std::uniform_int_distribution<int64_t>(least, most)(rng));
  return result;
}

template <class T>
void shapes(const cpu::Isa& isa, std::mt19937& rng) {
  for (int64_t dim : {8, 24, 48, 64, 96, 128, 136}) {
    Problem p = problem<T>(lengths(5, 0, 40, rng), lengths(7, 0, 33, rng), dim, Layout::all, rng);
    checkForward<T>(isa, p, ("all, dim " + std::to_string(dim)).c_str());
    checkBackward<T>(isa, p, rng, ("all, dim " + std::to_string(dim)).c_str());
    p.clampNegatives = true;
    checkForward<T>(isa, p, "floor of zero");
    checkBackward<T>(isa, p, rng, "floor of zero");
  }
  for (int64_t length : {1, 2, 7, 8, 9, 16, 17, 31, 32, 33, 64, 257, 1024}) {
    Problem p = problem<T>({length}, lengths(3, 1, 60, rng), 32, Layout::all, rng);
    checkForward<T>(isa, p, ("query of " + std::to_string(length)).c_str());
    checkBackward<T>(isa, p, rng, "query lengths");
  }
  for (int64_t tokens = 1; tokens <= 30; ++tokens) {
    Problem p = problem<T>({32, 3}, {tokens}, 16, Layout::all, rng);
    checkForward<T>(isa, p, ("document of " + std::to_string(tokens)).c_str());
  }
  for (const auto& queries : {std::vector<int64_t>(37, 1), {1, 30, 0, 17, 1}, {1}}) {  // runs of documents of one token
    std::vector<int64_t> documents(41, 1);
    documents[7] = 3;
    documents[8] = documents[22] = 0;
    documents[30] = 20;
    Problem p = problem<T>(queries, documents, 40, Layout::all, rng);
    checkForward<T>(isa, p, "one token each");
    checkBackward<T>(isa, p, rng, "one token each");
    p.clampNegatives = true;
    checkForward<T>(isa, p, "one token each, floor of zero");
  }
  Problem many = problem<T>(lengths(40, 0, 40, rng), lengths(60, 0, 20, rng), 16, Layout::all, rng);
  checkForward<T>(isa, many, "many");
  checkBackward<T>(isa, many, rng, "many");
  Problem wide = problem<T>({32, 5}, {20, 3}, 1024, Layout::all, rng);
  checkForward<T>(isa, wide, "dim 1024");
  Problem groups = problem<T>({32, 0, 5, 48}, {4, 0, 30, 17, 1, 9, 0}, 64, Layout::grouped, rng, {0, 3, 4, 4, 7});
  checkForward<T>(isa, groups, "groups");
  checkBackward<T>(isa, groups, rng, "groups");
  groups.clampNegatives = true;
  checkForward<T>(isa, groups, "groups, floor of zero");
  Problem pairs =
      problem<T>({32, 0, 5, 48}, {4, 0, 30, 17}, 48, Layout::pairs, rng, {3, 2, 0, 0, 3, 2, 1, 3, 2, 1, 0, 2, 3, 0});
  checkForward<T>(isa, pairs, "pairs");
  checkBackward<T>(isa, pairs, rng, "pairs");
  for (Layout layout : {Layout::all, Layout::grouped, Layout::pairs}) {
    const std::vector<int64_t> none = layout == Layout::grouped ? std::vector<int64_t>{0, 0} : std::vector<int64_t>{};
    Problem p = problem<T>({4}, {}, 8, layout, rng, none);
    checkForward<T>(isa, p, "no documents");
    checkBackward<T>(isa, p, rng, "no documents");
  }
  Problem noQueries = problem<T>({}, {4, 2}, 8, Layout::all, rng);
  checkForward<T>(isa, noQueries, "no queries");
  checkBackward<T>(isa, noQueries, rng, "no queries");
}

// Every layout gives the same bits for the same pair.
template <class T>
void layoutsAgree(const cpu::Isa& isa, std::mt19937& rng) {
  Problem all = problem<T>({32, 7, 40}, {180, 1, 1, 33, 90, 1, 1, 1}, 128, Layout::all, rng);
  Problem pairs = all;
  pairs.layout = Layout::pairs;
  std::vector<int64_t> list;
  for (int64_t i = 0; i < 3; ++i)
    for (int64_t j = 0; j < 8; ++j) list.insert(list.end(), {i, j});
  pairs.pairs = make<int64_t>({48}, list);
  CHECK(forward<T>(isa, all, false)[0].bytes == forward<T>(isa, pairs, false)[0].bytes, "%s: layouts differ", isa.name);
}

template <class T>
void ties(const cpu::Isa& isa) {
  // Equal tokens everywhere: the first wins, across tiles and within.
  for (int64_t tokens : {2, 15, 40}) {
    Problem p;
    p.q = make<T>({3, 8}, std::vector<T>(24, T(0.5)));
    p.d = make<T>({tokens, 8}, std::vector<T>(static_cast<size_t>(tokens * 8), T(-0.25)));
    p.qSegments = segments({3});
    p.dSegments = segments({tokens});
    const std::vector<Tensor> out = forward<T>(isa, p, true);
    CHECK(out[0].as<T>()[0] == -3, "%s: %g", isa.name, static_cast<double>(out[0].as<T>()[0]));
    for (int64_t row = 0; row < 3; ++row) CHECK(winner(out[1], row) == 0, "%s: %d", isa.name, (int)winner(out[1], row));
    p.d.as<T>()[(tokens - 1) * 8] = 1;  // the last is best
    CHECK(winner(forward<T>(isa, p, true)[1], 1) == tokens - 1, "%s", isa.name);
    std::fill_n(p.d.as<T>(), tokens * 8, T(0));  // a similarity of 0 beats the floor of 0
    p.clampNegatives = true;
    CHECK(winner(forward<T>(isa, p, true)[1], 2) == 0, "%s", isa.name);
  }
}

template <class T>
void notFinite(const cpu::Isa& isa, std::mt19937& rng) {
  const T nan = std::numeric_limits<T>::quiet_NaN(), infinity = std::numeric_limits<T>::infinity();
  Problem p = problem<T>({32, 20}, {40, 20, 0}, 16, Layout::all, rng);
  for (const T bad : {nan, -nan}) {
    for (int64_t token : {0, 5, 13, 14, 39}) {
      Problem poisoned = p;
      poisoned.d.as<T>()[token * 16 + 3] = bad;
      for (bool clampNegatives : {false, true}) {
        poisoned.clampNegatives = clampNegatives;
        const std::vector<Tensor> out = forward<T>(isa, poisoned, true);
        const T* s = out[0].as<T>();
        CHECK(std::isnan(s[0]) && std::isnan(s[3]), "%s: NaN in document token %d vanished", isa.name, (int)token);
        CHECK(std::isfinite(s[1]) && s[2] == 0 && std::isfinite(s[4]), "%s: NaN spread", isa.name);
        CHECK(winner(out[1], 4) == token, "%s: NaN is not the winner", isa.name);
      }
    }
    Problem poisoned = p;
    poisoned.q.as<T>()[33 * 16] = bad;
    const std::vector<Tensor> out = forward<T>(isa, poisoned, true);
    const T* s = out[0].as<T>();
    CHECK(std::isfinite(s[0]) && std::isfinite(s[1]) && std::isnan(s[3]) && std::isnan(s[4]) && s[5] == 0, "%s",
          isa.name);
  }
  Problem singles = problem<T>({2, 1}, {1, 1, 1, 1}, 16, Layout::all, rng);
  singles.d.as<T>()[2 * 16 + 3] = nan;
  singles.clampNegatives = true;
  const std::vector<Tensor> ofSingles = forward<T>(isa, singles, true);
  for (int64_t at = 0; at < 8; ++at)
    CHECK(std::isnan(ofSingles[0].as<T>()[at]) == (at % 4 == 2), "%s: NaN of one of many single tokens", isa.name);
  CHECK(winner(ofSingles[1], 2 * 3) == 0, "%s: NaN is not the winner", isa.name);
  Problem far;
  far.q = make<T>({1, 8}, {1, 0, 0, 0, 0, 0, 0, 0});
  far.qSegments = segments({1});
  far.d = make<T>({3, 8}, std::vector<T>(24, T(0)));
  far.d.as<T>()[0] = -infinity;
  far.d.as<T>()[8] = infinity;
  far.d.as<T>()[16] = 2;
  far.dSegments = segments({3});
  std::vector<Tensor> out = forward<T>(isa, far, true);
  CHECK(out[0].as<T>()[0] == infinity && winner(out[1], 0) == 1, "%s: infinity", isa.name);
  far.d.as<T>()[8] = far.d.as<T>()[16] = -infinity;
  out = forward<T>(isa, far, true);
  CHECK(out[0].as<T>()[0] == -infinity && winner(out[1], 0) == 0, "%s: −infinity", isa.name);
  // A NaN gradient is not skipped, a zero gradient is.
  Problem clean = problem<T>({2}, {3, 3}, 8, Layout::all, rng);
  Tensor argmax = forward<T>(isa, clean, true)[1];
  Tensor dscores = make<T>({1, 2}, {nan, T(0)}), dq = make<T>({2, 8}, std::vector<T>(16, T(0)));
  Tensor dd = make<T>({6, 8}, std::vector<T>(48, T(0)));
  backward<T>(isa, clean, argmax, dscores, &dq, &dd);
  CHECK(std::isnan(dq.as<T>()[0]), "%s: NaN gradient vanished", isa.name);
  for (int64_t k = 24; k < 48; ++k) CHECK(dd.as<T>()[k] == 0, "%s: zero gradient wrote", isa.name);
}

// The smallest type that holds all tokens, and with a floor of 0 one value more.
void longDocument(const cpu::Isa& isa, std::mt19937& rng) {
  for (int64_t tokens : {255, 256, 257, 65535, 65536, 65537})
    for (Layout layout : {Layout::all, Layout::grouped, Layout::pairs})
      for (bool clampNegatives : {false, true}) {
#ifdef LF_EMULATION
        if (tokens > 1000) continue;  // slow there: cuda/maxsim_test.cu has them
#endif
        Problem p = problem<float>(
            {3, 2}, {5, tokens, 0}, 8, layout, rng,
            layout == Layout::grouped ? std::vector<int64_t>{0, 2, 3} : std::vector<int64_t>{0, 0, 0, 1, 1, 1, 0, 2});
        p.clampNegatives = clampNegatives;
        std::fill_n(p.q.as<float>(), 16, 0.0f);
        p.q.as<float>()[0] = 1;
        p.q.as<float>()[8] = -1;  // the second row has only negative similarities: no winner where there is a floor
        for (int64_t u = 0; u < tokens; ++u) p.d.as<float>()[(5 + u) * 8] = 1 + std::abs(p.d.as<float>()[(5 + u) * 8]);
        p.d.as<float>()[(5 + tokens - 1) * 8] = 8;
        const std::vector<Tensor> out = forward<float>(isa, p, true);
        const int64_t values = tokens + clampNegatives, at = layout == Layout::all ? 5 : 3;
        const DType want = values <= 256 ? DType::u8 : values <= 65536 ? DType::u16 : DType::i32;
        CHECK(out[1].meta.dtype == want, "%s: %s for %d tokens", isa.name, nameOf(out[1].meta.dtype), (int)tokens);
        CHECK(winner(out[1], at) == tokens - 1, "%s: winner %d of %d", isa.name, (int)winner(out[1], at), (int)tokens);
        CHECK((winner(out[1], at + 1) == noWinner(out[1])) == clampNegatives, "%s: floor, %d tokens", isa.name,
              (int)tokens);
        checkForward<float>(isa, p, "long document");
        checkBackward<float>(isa, p, rng, "long document");
      }
}

// Winners beyond their document count as none, whatever they are.
template <class Winner>
void wildWinners(const cpu::Isa& isa, int64_t tokens, std::mt19937& rng) {
  for (Layout layout : {Layout::all, Layout::grouped, Layout::pairs}) {
    Problem p = problem<float>(
        {3, 2}, {4, tokens, 0}, 8, layout, rng,
        layout == Layout::grouped ? std::vector<int64_t>{0, 2, 3} : std::vector<int64_t>{0, 0, 0, 1, 1, 1, 0, 2});
    std::vector<Tensor> out = forward<float>(isa, p, true);
    Tensor wild = out[1], none = out[1];
    const int64_t* d = p.dSegments.as<int64_t>();
    int64_t at = 0;
    for (const auto& [i, j] : p.list)
      for (int64_t row = 0; row < p.qSegments.as<int64_t>()[i + 1] - p.qSegments.as<int64_t>()[i]; ++row, ++at) {
        if (rng() % 2) continue;
        const auto length = static_cast<uint64_t>(d[j + 1] - d[j]);
        const uint64_t values = std::numeric_limits<std::make_unsigned_t<Winner>>::max();
        if (length <= values)
          wild.as<Winner>()[at] =
              static_cast<Winner>(rng() % 2 ? length : std::uniform_int_distribution<uint64_t>(length, values)(rng));
        none.as<Winner>()[at] = std::numeric_limits<Winner>::max();
      }
    Tensor dscores = random<float>({out[0].meta.count()}, rng);
    dscores.meta = out[0].meta;
    Tensor dq = random<float>({5, 8}, rng), dd = random<float>({4 + tokens, 8}, rng), wantQ = dq, wantD = dd;
    backward<float>(isa, p, wild, dscores, &dq, &dd);
    backward<float>(isa, p, none, dscores, &wantQ, &wantD);
    CHECK(dq.bytes == wantQ.bytes && dd.bytes == wantD.bytes, "%s: %d tokens", isa.name, (int)tokens);
  }
}

// d/dx of Σ g · score by central differences, away from ties (random inputs, a step far below their gaps).
void finiteDifferences(const cpu::Isa& isa, std::mt19937& rng) {
  for (Layout layout : {Layout::all, Layout::grouped, Layout::pairs}) {
    const std::vector<int64_t> list =
        layout == Layout::grouped ? std::vector<int64_t>{0, 2, 4} : std::vector<int64_t>{1, 0, 0, 3, 1, 2, 1, 0};
    Problem p =
        problem<double>({3, 2}, {4, 6, 1, 3}, 8, layout, rng, layout == Layout::all ? std::vector<int64_t>{} : list);
    std::vector<Tensor> out = forward<double>(isa, p, true);
    Tensor dscores = random<double>({out[0].meta.count()}, rng);
    dscores.meta = out[0].meta;
    Tensor gradient[] = {make<double>({5, 8}, std::vector<double>(40, 0)),
                         make<double>({14, 8}, std::vector<double>(112, 0))};
    backward<double>(isa, p, out[1], dscores, &gradient[0], &gradient[1]);
    const auto loss = [&] {
      const auto o = forward<double>(isa, p, false);
      double sum = 0;
      for (int64_t k = 0; k < o[0].meta.count(); ++k) sum += o[0].as<double>()[k] * dscores.as<double>()[k];
      return sum;
    };
    double error = 0;
    for (int side = 0; side < 2; ++side) {
      Tensor& x = side ? p.d : p.q;
      for (int64_t k = 0; k < x.meta.count(); ++k) {
        double& value = x.as<double>()[k];
        const double kept = value, step = 1e-6;
        value = kept + step;
        const double up = loss();
        value = kept - step;
        const double down = loss();
        value = kept;
        error = std::max(error, std::abs((up - down) / (2 * step) - gradient[side].as<double>()[k]));
      }
    }
    CHECK(error < 1e-8, "%s layout %d: finite differences off by %g", isa.name, (int)layout, error);
  }
}

// The same bits whatever the number of threads.
template <class T>
void threads(const cpu::Isa& isa, std::mt19937& rng) {
  Problem p = problem<T>(lengths(20, 0, 40, rng), lengths(30, 0, 90, rng), 64, Layout::all, rng);
  std::vector<Bytes> results[2];
  for (int count : {1, 2}) {
    cpu::Team::instance().setThreads(count);
    std::vector<Tensor> out = forward<T>(isa, p, true);
    Tensor dq = p.q, dd = p.d;
    backward<T>(isa, p, out[1], out[0], &dq, &dd);
    results[count - 1] = {out[0].bytes, out[1].bytes, dq.bytes, dd.bytes};
  }
  CHECK(results[0] == results[1], "%s: threads change bits", isa.name);
}

}  // namespace
}  // namespace lateforge::testing

int main() {
  using namespace lateforge::testing;
  return onEveryIsa("maxsim", [](const lateforge::cpu::Isa& isa, std::mt19937& rng) {
    shapes<float>(isa, rng);
    shapes<double>(isa, rng);
    layoutsAgree<float>(isa, rng);
    ties<float>(isa);
    ties<double>(isa);
    notFinite<float>(isa, rng);
    notFinite<double>(isa, rng);
    longDocument(isa, rng);
    wildWinners<uint8_t>(isa, 40, rng);
    wildWinners<uint16_t>(isa, 300, rng);
    wildWinners<int32_t>(isa, 65540, rng);
    finiteDifferences(isa, rng);
    threads<float>(isa, rng);
    threads<double>(isa, rng);
  });
}
