// Variable-length self attention on packed rows qkv [T, 3 · heads · headDim]; blocks as in FlashAttention-2 (Dao,
// 2023): the scores of a tile of queries and keys live in L1 only, the softmax is carried from tile to tile of keys.
//
// Tiles are transposed: a vector holds the same key for neighbouring queries, so that maxima, sums and masks go lane by
// lane, and every product broadcasts a scalar that lies contiguous in qkv against vectors (tile.h).
//   Sᵀ = K Qᵀ · headDim^-½, P = exp(S − lse), O = P̃ V, P̃ = P after dropout
//   dV = P̃ᵀ dO, dP = (dO Vᵀ) after dropout, dS = P ∘ (dP − ⟨dO, O⟩), dQ = dS K · headDim^-½, dK = dSᵀ Q · headDim^-½
// A query sees key k < keyCount with |q − k| ≤ window (−1: all). One that sees none gives 0, lse −∞ and no gradient.
// Dropout of (query q, key k): word k mod 4 of Philox(key of the sequence, counter (k / 4, q, site, head + 1)).
#include <algorithm>

#include "../../cpu/kernels.h"
#include "../../cpu/loops.h"
#include "../../cpu/tile.h"
#include "../../runtime/philox.h"

namespace lateforge::cpu::LF_ISA::kernels {

constexpr int64_t kKeys = 192;  // of a tile
template <class T>
constexpr int64_t kQueries = kTileColumns<T>;

template <class T>
struct Problem {
  int64_t heads, headDim, window;
  T scale, keep;  // keep: what dropout multiplies with
  uint32_t threshold, site;
  const int64_t* segments;
  const int32_t* keyLengths;
  const uint32_t* seeds;  // null without dropout
};

template <class T, class P>
static Problem<T> problemOf(const P& p, const View& qkv, const View& segments, const View& keyLengths,
                            const View& seeds) {
  const int64_t headDim = qkv.columns() / (3 * p.heads);
  return {p.heads,
          headDim,
          p.window,
          static_cast<T>(1 / std::sqrt(static_cast<double>(headDim))),
          static_cast<T>(1 / (1 - p.dropout)),
          dropThreshold(p.dropout),
          static_cast<uint32_t>(p.site),
          segments.as<int64_t>(),
          keyLengths.present() ? keyLengths.as<int32_t>() : nullptr,
          p.dropout > 0 ? seeds.as<uint32_t>() : nullptr};
}

// One head of one sequence.
template <class T>
struct Head {
  const Problem<T>& p;
  int64_t sequence, head, rows, keys;

  Head(const Problem<T>& problem, int64_t s, int64_t h)
      : p(problem), sequence(s), head(h), rows(problem.segments[s + 1] - problem.segments[s]), keys(rows) {
    if (p.keyLengths && p.keyLengths[s] < keys) keys = p.keyLengths[s];
  }
  // The keys that queries [first, last) see between them.
  int64_t keyBegin(int64_t first) const { return p.window >= 0 && first > p.window ? first - p.window : 0; }
  int64_t keyEnd(int64_t last) const { return p.window >= 0 && last + p.window < keys ? last + p.window : keys; }
};

// A head of a sequence. Behind the last head: none.
struct Place {
  int64_t sequence, head;
};

// Asks for the rows of the head that a thread comes to next, one at a time, while it multiplies: they lie in strides
// that a processor does not foresee. What is too long for a near cache is not asked for whole.
template <class T>
class Ahead {
 public:
  Ahead(const Problem<T>& p, Place next) : p_(p), next_(next) {
    if (next.head < p.heads) rows_ = std::min<int64_t>(p.segments[next.sequence + 1] - p.segments[next.sequence], 256);
  }

  // Rows of heads · headDim numbers, `planes` of them side by side.
  Ahead& of(const View& view, int planes) {
    const int64_t plane = p_.heads * p_.headDim;
    const T* at = view.as<T>() + p_.segments[next_.sequence] * planes * plane + next_.head * p_.headDim;
    for (int i = 0; i < planes; ++i) streams_[count_++] = {at + i * plane, planes * plane};
    return *this;
  }

  void operator()() {
    if (row_ == rows_) return;
    constexpr int64_t line = 64 / static_cast<int64_t>(sizeof(T));
    for (int i = 0; i < count_; ++i)
      for (int64_t c = 0; c < p_.headDim; c += line)
        __builtin_prefetch(streams_[i].at + row_ * streams_[i].apart + c, 0, 2);
    ++row_;
  }

 private:
  struct Stream {
    const T* at;
    int64_t apart;
  };
  const Problem<T>& p_;
  Place next_;
  int64_t row_ = 0, rows_ = 0;
  int count_ = 0;
  Stream streams_[8];
};

// to [columns, rows] = the transpose of from [rows, columns] · by, rows of them ldTo and ld apart; by whole vectors,
// the rest one by one.
template <class T>
static void transposeInto(const T* from, int64_t ld, int64_t rows, int64_t columns, T by, T* to, int64_t ldTo) {
  constexpr int64_t L = kLanes<T>;
  for (int64_t r = 0; r < rows; r += L)
    for (int64_t c = 0; c < columns; c += L) {
      if (rows - r >= L && columns - c >= L) {
        Vec<T> square[L];
        for (int64_t i = 0; i < L; ++i) square[i] = load(from + (r + i) * ld + c) * by;
        transpose<T>(square);
        for (int64_t i = 0; i < L; ++i) store(to + (c + i) * ldTo + r, square[i]);
      } else {
        for (int64_t i = r; i < r + L && i < rows; ++i)
          for (int64_t j = c; j < c + L && j < columns; ++j) to[j * ldTo + i] = from[i * ld + j] * by;
      }
    }
}

// The same to [columns, lanes], with zeros in lanes beyond the last row.
template <class T>
static void lanesOf(const T* from, int64_t ld, int64_t rows, int64_t columns, T by, T* to, int64_t lanes) {
  if (rows < lanes) std::memset(to, 0, columns * lanes * sizeof(T));
  transposeInto(from, ld, rows, columns, by, to, lanes);
}

// What a tile needs of dropout: factor [count, lanes], 0 or keep, of keys [key, key + count) and `lanes` queries from
// q.
template <class T>
static void dropFactors(const Head<T>& h, int64_t key, int64_t count, int64_t q, int64_t lanes, T* factor) {
  for (int64_t block = key / 4; block * 4 < key + count; ++block)
    for (int64_t lane = 0; lane < lanes; lane += kWords) {
      const PhiloxBlock draw =
          philoxBlock(h.p.seeds + 2 * h.sequence, static_cast<uint32_t>(block), 0, static_cast<uint32_t>(q + lane), 1,
                      h.p.site, static_cast<uint32_t>(h.head + 1));
      const int64_t n = lanes - lane < kWords ? lanes - lane : kWords;
      for (int w = 0; w < 4; ++w) {
        const int64_t k = 4 * block + w - key;
        if (k < 0 || k >= count) continue;
        storeKept(factor + k * lanes + lane, draw.word[w], h.p.threshold, h.p.keep, n);
      }
    }
}

// Of keys [key, key + count), those [begin, end), counted from `key`, that some lane of each vector of queries sees:
// for a vector of a tile whose window begins or ends there, the rest is not multiplied.
template <class T>
struct Seen {
  int64_t vectors, begin[kTileVectors], end[kTileVectors];

  Seen(const Head<T>& h, int64_t key, int64_t count, int64_t q, int64_t lanes) : vectors(lanes / kLanes<T>) {
    for (int64_t j = 0; j < vectors; ++j, q += kLanes<T>) {
      begin[j] = h.p.window < 0 ? 0 : std::clamp<int64_t>(q - h.p.window - key, 0, count);
      end[j] = h.p.window < 0 ? count : std::clamp<int64_t>(q + kLanes<T> + h.p.window - key, 0, count);
    }
  }

  // f(first key, number of keys, first lane, number of lanes): what all vectors see, then what the first alone and the
  // last alone do.
  template <class F>
  void parts(F f) const {
    constexpr int64_t L = kLanes<T>;
    const int64_t last = vectors - 1;
    f(begin[last], end[0] - begin[last], int64_t{0}, vectors * L);
    if (begin[0] < begin[last]) f(begin[0], begin[last] - begin[0], int64_t{0}, L);
    if (end[0] < end[last]) f(end[0], end[last] - end[0], last * L, L);
  }
};
static_assert(kTileVectors == 2);

// Sets what the window hides to −∞ in scores [count, lanes]: keys [key, key + count), queries from q, as far as a
// vector sees any of it.
template <class T>
static void hide(const Head<T>& h, const Seen<T>& seen, int64_t key, int64_t q, int64_t lanes, T* scores) {
  if (h.p.window < 0) return;
  const T reach = static_cast<T>(h.p.window);
  for (int64_t j = 0; j < seen.vectors; ++j) {
    const int64_t first = q + j * kLanes<T>, last = first + kLanes<T> - 1;
    for (int64_t k = seen.begin[j]; k < seen.end[j]; ++k) {
      if (key + k >= last - h.p.window && key + k <= first + h.p.window) continue;  // every lane sees it
      T* to = scores + k * lanes + j * kLanes<T>;
      const Vec<T> distance = iota<T>() + static_cast<T>(first - key - k);
      const Vec<T> low = distance < -reach ? fill(-std::numeric_limits<T>::infinity()) : load(to);
      store(to, distance > reach ? fill(-std::numeric_limits<T>::infinity()) : low);
    }
  }
}

// Queries [q, q + lanes) of a head. Pointers are to its first row and its own columns: qkv in rows of 3 · heads · h, o
// in rows of heads · h, lse heads apart. scratch: qt, ot [h, lanes], the transposes of Q and O; s, factor [kKeys,
// lanes].
template <class T>
static void forwardTile(const Head<T>& h, const T* qkv, int64_t q, int64_t lanes, T* scratch, T* o, T* lse,
                        Ahead<T>& ahead) {
  const int64_t d = h.p.headDim, width = 3 * h.p.heads * d, ldo = h.p.heads * d;
  const int64_t queries = h.rows - q < lanes ? h.rows - q : lanes;
  const T *k = qkv + h.p.heads * d, *v = k + h.p.heads * d;
  T *qt = scratch, *ot = qt + d * lanes, *s = ot + d * lanes, *factor = s + kKeys * lanes;
  constexpr T kInfinity = std::numeric_limits<T>::infinity();
  const int64_t vectors = lanes / kLanes<T>;
  Vec<T> top[kTileVectors], sum[kTileVectors];
  for (int64_t j = 0; j < vectors; ++j) top[j] = fill(-kInfinity), sum[j] = Vec<T>{};
  lanesOf(qkv + q * width, width, queries, d, h.p.scale, qt, lanes);

  const int64_t end = h.keyEnd(q + queries);
  bool first = true;
  for (int64_t key = h.keyBegin(q); key < end; key += kKeys, first = false) {
    const int64_t count = end - key < kKeys ? end - key : kKeys;
    const Seen<T> seen(h, key, count, q, lanes);
    seen.parts([&](int64_t i, int64_t n, int64_t lane, int64_t some) {
      multiply(n, some, d, k + (key + i) * width, width, qt + lane, lanes, s + i * lanes + lane, lanes, false, ahead);
    });
    hide(h, seen, key, q, lanes, s);
    if (h.p.seeds) dropFactors(h, key, count, q, lanes, factor);
    for (int64_t j = 0; j < vectors; ++j) {
      T* column = s + j * kLanes<T>;
      Vec<T> best = top[j];
      for (int64_t i = seen.begin[j]; i < seen.end[j]; ++i) best = larger(load(column + i * lanes), best);
      const Vec<T> from = best == -kInfinity ? Vec<T>{} : best;
      const Vec<T> shrink = exponentialDown(top[j] - from);
      top[j] = best;
      Vec<T> total{};
      for (int64_t i = seen.begin[j]; i < seen.end[j]; ++i) {
        Vec<T> e = exponentialDown(load(column + i * lanes) - from);
        total += e;
        if (h.p.seeds) e *= load(factor + i * lanes + j * kLanes<T>);
        store(column + i * lanes, e);
      }
      sum[j] = sum[j] * shrink + total;
      if (!first)
        for (int64_t c = 0; c < d; ++c)
          store(ot + c * lanes + j * kLanes<T>, load(ot + c * lanes + j * kLanes<T>) * shrink);
    }
    seen.parts([&](int64_t i, int64_t n, int64_t lane, int64_t some) {
      const bool add = !first || some < lanes;  // all vectors' part comes first
      multiply<true>(d, some, n, v + (key + i) * width, width, s + i * lanes + lane, lanes, ot + lane, lanes, add,
                     ahead);
    });
  }

  for (int64_t j = 0; j < vectors; ++j) {
    // 0 where no key was seen.
    const Vec<T> inverse = sum[j] == T{0} ? Vec<T>{} : T{1} / sum[j];
    for (int64_t c = 0; c < d && !first; ++c) {
      T* lanesOfColumn = ot + c * lanes + j * kLanes<T>;
      store(lanesOfColumn, load(lanesOfColumn) * inverse);
    }
  }
  if (first) std::memset(ot, 0, d * lanes * sizeof(T));
  transposeInto(ot, lanes, d, queries, T{1}, o + q * ldo, ldo);
  for (int64_t i = 0; i < queries; ++i) {
    const T total = sum[i / kLanes<T>][i % kLanes<T>];
    lse[(q + i) * h.p.heads] = total == T{0} ? -kInfinity : top[i / kLanes<T>][i % kLanes<T>] + std::log(total);
  }
}

// The same for dO as o and dqkv as qkv, which is zero on entry; queries go in order, so keys are summed in order.
// scratch: qt, dot, dqt [h, lanes]; rowsQ, rowsO [lanes, padded h]; s, ds, factor [kKeys, lanes].
template <class T>
static void backwardTile(const Head<T>& h, const T* qkv, const T* o, const T* dO, const T* lse, T* dqkv, int64_t q,
                         int64_t lanes, T* scratch, Ahead<T>& ahead) {
  const int64_t d = h.p.headDim, width = 3 * h.p.heads * d, ldo = h.p.heads * d, plane = h.p.heads * d;
  const int64_t queries = h.rows - q < lanes ? h.rows - q : lanes, padded = divideUp(d, kLanes<T>) * kLanes<T>;
  const T *k = qkv + plane, *v = k + plane;
  T *qt = scratch, *dot = qt + d * lanes, *dqt = dot + d * lanes, *rowsQ = dqt + d * lanes,
    *rowsO = rowsQ + padded * lanes;
  T *s = rowsO + padded * lanes, *ds = s + kKeys * lanes, *factor = ds + kKeys * lanes;
  lanesOf(qkv + q * width, width, queries, d, h.p.scale, qt, lanes);
  lanesOf(dO + q * ldo, ldo, queries, d, T{1}, dot, lanes);
  T along[kTileColumns<T>] = {}, shift[kTileColumns<T>];
  for (int64_t i = 0; i < lanes; ++i) {
    // Lanes beyond the end and queries without keys: exp(s − ∞) = 0.
    const T l = i < queries ? lse[(q + i) * h.p.heads] : -std::numeric_limits<T>::infinity();
    shift[i] = l == -std::numeric_limits<T>::infinity() ? -l : l;
  }
  for (int64_t i = 0; i < queries; ++i) {
    Vec<T> product{};
    forLanes<T>(d, [&](int64_t c, auto n) {
      const Vec<T> up = loadPart(dO + (q + i) * ldo + c, n);
      product += up * loadPart(o + (q + i) * ldo + c, n);
      store(rowsO + i * padded + c, up);
      store(rowsQ + i * padded + c, loadPart(qkv + (q + i) * width + c, n) * h.p.scale);
    });
    along[i] = addLanes<T>(product);
  }
  const int64_t end = h.keyEnd(q + queries);
  bool first = true;
  for (int64_t key = h.keyBegin(q); key < end; key += kKeys, first = false) {
    const int64_t count = end - key < kKeys ? end - key : kKeys;
    const Seen<T> seen(h, key, count, q, lanes);
    seen.parts([&](int64_t i, int64_t n, int64_t lane, int64_t some) {
      const int64_t row = (key + i) * width, at = i * lanes + lane;
      multiply(n, some, d, k + row, width, qt + lane, lanes, s + at, lanes, false, ahead);
      multiply(n, some, d, v + row, width, dot + lane, lanes, ds + at, lanes, false, ahead);
    });
    hide(h, seen, key, q, lanes, s);
    if (h.p.seeds) dropFactors(h, key, count, q, lanes, factor);
    for (int64_t j = 0; j < seen.vectors; ++j) {
      const Vec<T> from = load(shift + j * kLanes<T>), less = load(along + j * kLanes<T>);
      for (int64_t i = seen.begin[j]; i < seen.end[j]; ++i) {
        const int64_t at = i * lanes + j * kLanes<T>;
        const Vec<T> p = exponentialDown(load(s + at) - from);  // lse is at least any score, but for rounding
        const Vec<T> kept = h.p.seeds ? load(factor + at) : fill(T{1});
        store(s + at, p * kept);
        store(ds + at, p * (load(ds + at) * kept - less));
      }
    }
    seen.parts([&](int64_t i, int64_t n, int64_t lane, int64_t some) {
      const int64_t row = (key + i) * width, at = i * lanes + lane, count = std::min(queries - lane, some);
      multiply(n, d, count, s + at, lanes, rowsO + lane * padded, padded, dqkv + 2 * plane + row, width, true, ahead);
      multiply(n, d, count, ds + at, lanes, rowsQ + lane * padded, padded, dqkv + plane + row, width, true, ahead);
      multiply<true>(d, some, n, k + row, width, ds + at, lanes, dqt + lane, lanes, !first || some < lanes, ahead);
    });
  }
  if (first) return;
  transposeInto(dqt, lanes, d, queries, h.p.scale, dqkv + q * width, width);
}

// Numbers that a tile of queries needs beside its operands, for heads of d numbers.
template <class T>
constexpr int64_t forwardSize(int64_t d) {
  return 2 * (d + kKeys) * kQueries<T>;
}
template <class T>
constexpr int64_t backwardSize(int64_t d) {
  return (3 * d + 2 * divideUp(d, kLanes<T>) * kLanes<T> + 3 * kKeys) * kQueries<T>;
}

// A task takes the heads of sequences that start in the same rows, so many of them.
constexpr int64_t kTaskRows = 256;
static int64_t tasksOf(int64_t rows, int64_t heads) { return divideUp(rows, kTaskRows) * heads; }

// f(head, the next one, memory) for all, with memory for `size` numbers.
template <class T, class F>
static void forHeads(const OpCall& call, const Problem<T>& p, int64_t sequences, int64_t size, F f) {
  const int64_t tasks = tasksOf(p.segments[sequences], p.heads), bytes = size * static_cast<int64_t>(sizeof(T));
  forTasksWithMemory(tasks, call.workspace, call.workspaceBytes, bytes, [&](int64_t task, void* memory) {
    const int64_t begin = task / p.heads * kTaskRows, head = task % p.heads;
    int64_t s = 0;
    for (int64_t above = sequences; s < above;) {
      const int64_t middle = (s + above) / 2;
      if (p.segments[middle] < begin)
        s = middle + 1;
      else
        above = middle;
    }
    const auto isHere = [&](int64_t i) { return i < sequences && p.segments[i] < begin + kTaskRows; };
    for (const int64_t first = s; isHere(s); ++s) {
      const Place next = isHere(s + 1) ? Place{s + 1, head} : Place{first, head + 1};
      if (p.segments[s + 1] > p.segments[s]) f(Place{s, head}, next, static_cast<T*>(memory));
    }
  });
}

// f(query, lanes) over tiles of queries; the last one is a single vector where that is enough.
template <class T, class F>
static void forQueries(int64_t rows, F f) {
  for (int64_t q = 0; q < rows; q += kQueries<T>) f(q, rows - q <= kLanes<T> ? int64_t{kLanes<T>} : kQueries<T>);
}

// qkv [T, 3 · heads · h], segments [n + 1], keyLengths int32 [n], seeds [n, 2], o [T, heads · h], lse [T, heads];
// keyLengths and seeds may be absent.
template <class T>
int32_t attention(const OpCall& call, char*) {
  const auto p = problemOf<T>(call.as<params::attention>(), call.in[0], call.in[1], call.in[2], call.in[3]);
  const int64_t d = p.headDim, width = 3 * p.heads * d;
  forHeads(call, p, call.in[1].count() - 1, forwardSize<T>(d), [&](Place at, Place next, T* scratch) {
    const Head<T> h(p, at.sequence, at.head);
    const int64_t row = p.segments[at.sequence], head = at.head;
    Ahead<T> ahead(p, next);
    ahead.of(call.in[0], 3);
    forQueries<T>(h.rows, [&](int64_t q, int64_t lanes) {
      forwardTile(h, call.in[0].as<T>() + row * width + head * d, q, lanes, scratch,
                  call.out[0].as<T>() + row * p.heads * d + head * d, call.out[1].as<T>() + row * p.heads + head,
                  ahead);
    });
  });
  return 0;
}

// qkv, dqkv [T, 3 · heads · h], o, dO [T, heads · h], lse [T, heads], the rest as above.
template <class T>
int32_t attentionBackward(const OpCall& call, char*) {
  const auto p = problemOf<T>(call.as<params::attentionBackward>(), call.in[0], call.in[4], call.in[5], call.in[6]);
  const int64_t d = p.headDim, width = 3 * p.heads * d;
  forHeads(call, p, call.in[4].count() - 1, backwardSize<T>(d), [&](Place at, Place next, T* scratch) {
    const Head<T> h(p, at.sequence, at.head);
    Ahead<T> ahead(p, next);
    ahead.of(call.in[0], 3).of(call.in[1], 1).of(call.in[3], 1).of(call.out[0], 3);
    const int64_t head = at.head, row = p.segments[at.sequence], out = row * p.heads * d + head * d;
    T* dqkv = call.out[0].as<T>() + row * width + head * d;
    for (int64_t r = 0; r < h.rows; ++r)
      for (int part = 0; part < 3; ++part) std::memset(dqkv + r * width + part * p.heads * d, 0, d * sizeof(T));
    forQueries<T>(h.rows, [&](int64_t q, int64_t lanes) {
      backwardTile(h, call.in[0].as<T>() + row * width + head * d, call.in[1].as<T>() + out, call.in[3].as<T>() + out,
                   call.in[2].as<T>() + row * p.heads + head, dqkv, q, lanes, scratch, ahead);
    });
  });
  return 0;
}

LF_INSTANTIATE(attention);
LF_INSTANTIATE(attentionBackward);

}  // namespace lateforge::cpu::LF_ISA::kernels

namespace lateforge::cpu::LF_ISA::needs {

template <class T>
static int64_t sizeFor(const OpCall& call, int64_t heads, int64_t (*sizeOf)(int64_t)) {
  const int64_t each = sizeOf(call.in[0].columns() / (3 * heads)) * static_cast<int64_t>(sizeof(T));
  return partsFor(kernels::tasksOf(call.in[0].rows(), heads), each);
}

template <class T>
int64_t attention(const OpCall& call) {
  return sizeFor<T>(call, call.as<params::attention>().heads, kernels::forwardSize<T>);
}

template <class T>
int64_t attentionBackward(const OpCall& call) {
  return sizeFor<T>(call, call.as<params::attentionBackward>().heads, kernels::backwardSize<T>);
}

LF_INSTANTIATE_NEED(attention);
LF_INSTANTIATE_NEED(attentionBackward);

}  // namespace lateforge::cpu::LF_ISA::needs
