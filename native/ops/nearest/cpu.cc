// nearest: for each row of x the rows of w with the largest products. They are selected while the products of some rows
// of w are in a near cache: a vector holds the products of one row of w with neighbouring rows of x, and nearly always
// none of them belongs into a list.
//
// nearestWithin: the same among some rows of w alone, which each row of x has chosen. Few rows of x choose the same
// ones, so that a row of x is multiplied with kLanes neighbouring rows of w at a time, as they are stored.
//
// In nearest every thread has lists of its own for what it multiplies; in the end they are put together. Larger
// products come first, of equal ones the lower row of w, so that it does not matter who multiplied what. Rows of x are
// those of a few queries: their transpose, and products with them, are to fit into a near cache.
#include <algorithm>
#include <limits>

#include "../../cpu/kernels.h"
#include "../../cpu/loops.h"
#include "../../cpu/tile.h"

namespace lateforge::cpu::LF_ISA {
namespace {

constexpr int64_t kChunk = 8 * kTileRows;  // rows of w that are multiplied at a time
constexpr int64_t kTask = 4 * kChunk;

template <class T>
struct Found {
  T score;
  int32_t row;  // −1: none

  bool isBefore(const Found& other) const { return score > other.score || (score == other.score && row < other.row); }
};

template <class T>
constexpr Found<T> kNone{-std::numeric_limits<T>::infinity(), -1};

// The list of row r to scores and rows [T, most].
template <class T>
inline void write(const OpCall& call, int64_t r, const Found<T>* list, int64_t most) {
  for (int64_t i = 0; i < most; ++i) {
    call.out[0].as<T>()[r * most + i] = list[i].score;
    call.out[1].as<int32_t>()[r * most + i] = list[i].row;
  }
}

// Puts what is before the last one of a list into its place; what is last goes.
template <class T>
inline void insert(Found<T>* list, int64_t most, Found<T> found) {
  int64_t i = most - 1;
  for (; i > 0 && found.isBefore(list[i - 1]); --i) list[i] = list[i - 1];
  list[i] = found;
}

template <class T>
struct Sizes {
  int64_t rows, d, count, most, padded;

  explicit Sizes(const OpCall& call)
      : rows(call.in[0].rows()),
        d(call.in[0].columns()),
        count(call.in[1].rows()),
        most(call.as<params::nearest>().most),
        padded(divideUp(rows, kLanes<T>) * kLanes<T>) {}

  int64_t tasks() const { return divideUp(count, kTask); }
  // Bytes of xᵀ [d, padded], and of what a thread has for itself.
  int64_t transposed() const { return partSize(d * padded * static_cast<int64_t>(sizeof(T))); }
  int64_t own() const {
    return (kChunk + 1) * padded * static_cast<int64_t>(sizeof(T)) +
           rows * most * static_cast<int64_t>(sizeof(Found<T>));
  }
};

// What a thread has for itself: lists [rows, most], of each row the score of the last in its list [padded], and
// products [kChunk, padded].
template <class T>
struct Own {
  Found<T>* lists;
  T *least, *products;

  Own(const Sizes<T>& s, void* memory)
      : lists(static_cast<Found<T>*>(memory)),
        least(reinterpret_cast<T*>(lists + s.rows * s.most)),
        products(least + s.padded) {}

  void clear(const Sizes<T>& s) {
    constexpr T kInfinity = std::numeric_limits<T>::infinity();
    std::fill_n(lists, s.rows * s.most, kNone<T>);
    // Lanes beyond the last row find nothing.
    for (int64_t x = 0; x < s.padded; ++x) least[x] = x < s.rows ? -kInfinity : kInfinity;
  }

  // Rows [begin, end) of w [n, d] with all rows of x, of which xt is the transpose.
  void add(const Sizes<T>& s, const T* w, const T* xt, int64_t begin, int64_t end) {
    for (int64_t first = begin; first < end; first += kChunk) {
      const int64_t some = std::min(kChunk, end - first);
      multiply(some, s.padded, s.d, w + first * s.d, s.d, xt, s.padded, products, s.padded, false, [] {});
      for (int64_t i = 0; i < some; ++i)
        for (int64_t x = 0; x < s.padded; x += kLanes<T>) {
          const T* product = products + i * s.padded + x;
          for (uint32_t bits = lanesFrom<T>(load(product), load(least + x)); bits != 0; bits &= bits - 1) {
            const int lane = __builtin_ctz(bits);
            Found<T>* list = lists + (x + lane) * s.most;
            const Found<T> found{product[lane], static_cast<int32_t>(first + i)};
            if (!found.isBefore(list[s.most - 1])) continue;
            insert(list, s.most, found);
            least[x + lane] = list[s.most - 1].score;
          }
        }
    }
  }
};

// kLanes numbers of p as T.
template <class T>
inline Vec<T> widenLanes(const int8_t* p) {
#if LF_VECTOR_BYTES == 64 && defined(__AVX512F__)
  if constexpr (sizeof(T) == 4)
    // GCC 12 warns of the undefined operand of those without a mask.
    return _mm512_maskz_cvtepi32_ps(
        0xffff, _mm512_maskz_cvtepi8_epi32(0xffff, _mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
#elif LF_VECTOR_BYTES == 32 && defined(__AVX2__)
  if constexpr (sizeof(T) == 4)
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
#endif
  Vec<T> v{};
  for (int i = 0; i < kLanes<T>; ++i) v[i] = static_cast<T>(p[i]);
  return v;
}

// Products of x [d] with rows [first, first + kLanes) of w [n, d], a row a lane; rows from `last` on are the one
// before.
template <class T>
inline Vec<T> productsOf(const T* x, const int8_t* w, int64_t d, int64_t first, int64_t last) {
  constexpr int64_t L = kLanes<T>;
  const int64_t whole = d / L * L;
  Vec<T> sums[L];
  T rest[L];
#pragma GCC unroll 16
  for (int64_t i = 0; i < L; ++i) {
    const int8_t* row = w + std::min(first + i, last - 1) * d;
    Vec<T> sum{};
    for (int64_t k = 0; k < whole; k += L) sum += load(x + k) * widenLanes<T>(row + k);
    sums[i] = sum;
    rest[i] = 0;
    for (int64_t k = whole; k < d; ++k) rest[i] += x[k] * static_cast<T>(row[k]);
  }
  transpose<T>(sums);
  Vec<T> products = load(rest);
#pragma GCC unroll 16
  for (int64_t k = 0; k < L; ++k) products += sums[k];
  return products;
}

}  // namespace

namespace kernels {

// x [T, d], w int8 [n, d] times scales [n], cells [c + 1], chosen [T, m]; scores and rows [T, most].
template <class T>
int32_t nearestWithin(const OpCall& call, char*) {
  const View &x = call.in[0], &w = call.in[1], &chosen = call.in[4];
  const T* scales = call.in[2].as<T>();
  const int64_t* cells = call.in[3].as<int64_t>();
  const int64_t d = x.columns(), count = call.in[3].dims[0] - 1, looks = chosen.columns();
  const int64_t most = call.as<params::nearestWithin>().most;
  const int64_t listBytes = most * static_cast<int64_t>(sizeof(Found<T>));
  forTasksWithMemory(x.rows(), call.workspace, call.workspaceBytes, listBytes, [&](int64_t r, void* own) {
    Found<T>* const list = static_cast<Found<T>*>(own);
    std::fill_n(list, most, kNone<T>);
    for (int64_t i = 0; i < looks; ++i) {
      const int64_t cell = chosen.as<int32_t>()[r * looks + i];
      if (cell < 0 || cell >= count) continue;
      for (int64_t first = cells[cell], last = cells[cell + 1]; first < last; first += kLanes<T>) {
        const int64_t some = std::min<int64_t>(kLanes<T>, last - first);
        const Vec<T> found =
            productsOf(x.as<T>() + r * d, w.as<int8_t>(), d, first, last) * loadPart(scales + first, some);
        T products[kLanes<T>];
        store(products, found);
        const uint32_t within = (uint64_t{1} << some) - 1;
        for (uint32_t bits = lanesFrom<T>(found, fill(list[most - 1].score)) & within; bits != 0; bits &= bits - 1) {
          const int lane = __builtin_ctz(bits);
          const Found<T> here{products[lane], static_cast<int32_t>(first + lane)};
          if (here.isBefore(list[most - 1])) insert(list, most, here);
        }
      }
    }
    write(call, r, list, most);
  });
  return 0;
}

LF_INSTANTIATE(nearestWithin);

// x [T, d], w [n, d], scores and rows [T, most].
template <class T>
int32_t nearest(const OpCall& call, char*) {
  const Sizes<T> s(call);
  if (s.rows == 0) return 0;
  const T *x = call.in[0].as<T>(), *w = call.in[1].as<T>();
  T* const xt = static_cast<T*>(call.workspace);
  char* const memory = static_cast<char*>(call.workspace) + s.transposed();
  const int64_t bytes = call.workspaceBytes - s.transposed(), parts = bytes / partSize(s.own());
  for (int64_t k = 0; k < s.d; ++k)
    for (int64_t r = 0; r < s.padded; ++r) xt[k * s.padded + r] = r < s.rows ? x[r * s.d + k] : T{0};
  const auto ownOf = [&](int64_t part) { return Own<T>(s, memory + part * partSize(s.own())); };
  for (int64_t part = 0; part < parts; ++part) ownOf(part).clear(s);
  forTasksWithMemory(s.tasks(), memory, bytes, s.own(), [&](int64_t task, void* own) {
    Own<T>(s, own).add(s, w, xt, task * kTask, std::min((task + 1) * kTask, s.count));
  });
  for (int64_t r = 0; r < s.rows; ++r) {
    Found<T>* const best = ownOf(0).lists + r * s.most;
    for (int64_t part = 1; part < parts; ++part) {
      const Found<T>* list = ownOf(part).lists + r * s.most;
      for (int64_t i = 0; i < s.most && list[i].row >= 0 && list[i].isBefore(best[s.most - 1]); ++i)
        insert(best, s.most, list[i]);
    }
    write(call, r, best, s.most);
  }
  return 0;
}

LF_INSTANTIATE(nearest);

}  // namespace kernels

namespace needs {

template <class T>
int64_t nearest(const OpCall& call) {
  const Sizes<T> s(call);
  return s.transposed() + partsFor(s.tasks(), s.own());
}

template <class T>
int64_t nearestWithin(const OpCall& call) {
  return partsFor(call.in[0].rows(), call.as<params::nearestWithin>().most * static_cast<int64_t>(sizeof(Found<T>)));
}

LF_INSTANTIATE_NEED(nearest);
LF_INSTANTIATE_NEED(nearestWithin);

}  // namespace needs
}  // namespace lateforge::cpu::LF_ISA
