// Gradients of MaxSim by owner: every gradient row is added up by one warp in the order of pairs and rows, so there are
// no atomics and the bits are those of the plain kernels, whatever the block sizes. Blocks in y are slabs of kSlab
// features, four to a lane.
#include <algorithm>

#include "../../cuda/device/async.cuh"
#include "../../cuda/device/warp.cuh"
#include "../../cuda/elements.cuh"
#include "cuda.h"

namespace lateforge::cuda {
namespace {

constexpr int kSlab = 4 * kWarp;

using Four = Pack<float, 4>;

LF_DEVICE void addScaled(Four& sum, float g, const Four& x) {
  for (int k = 0; k < 4; ++k) sum[k] = fusedMultiplyAdd(g, x[k], sum[k]);
}

// What a backward kernel is given.
template <class T>
struct Gradient {
  MaxsimTokens<T> q, d;
  PairList pairs;
  Dev<const int64_t> starts;
  ArgmaxReader argmax;
  Dev<const float> dscores;
  Dev<float> sum;  // dq or dd
};

// dq: a warp per query row, which gathers its winners from the documents, 32 pairs at a time.
template <class T>
struct GatherToQueries {
  static constexpr int kThreads = 256, kMinBlocks = 4;
  Gradient<T> x;

  // The row of d that pair k gives to the row, −1 for none; g is its share.
  LF_DEVICE int64_t source(int64_t k, int64_t i, int64_t row, float& g) const {
    if (x.pairs.layout == Layout::pairs && x.pairs.query(k) != i) return -1;
    g = x.dscores[k];
    if (g == 0) return -1;
    const int64_t j = x.pairs.layout == Layout::all ? k - i * x.d.sequences : x.pairs.document(k);
    const int64_t at = x.starts ? x.starts[k] + row - x.q.begin(i) : j * x.q.rows + row;
    const int32_t token = x.argmax.at(at, x.d.length(j));
    return token < 0 ? -1 : x.d.begin(j) + token;
  }

  LF_DEVICE void operator()() const {
    const int64_t row = blockX() * (kThreads / kWarp) + warp(), feature = blockY() * kSlab + 4 * lane();
    if (row >= x.q.rows) return;
    const bool active = feature < x.q.dim;
    const int64_t i = sequenceOf(x.q.segments, x.q.sequences, row);
    int64_t first = 0, last = x.pairs.count;
    if (x.pairs.layout == Layout::all) {
      first = i * x.d.sequences;
      last = first + x.d.sequences;
    } else if (x.pairs.layout == Layout::grouped) {
      first = x.pairs.values[i];
      last = x.pairs.values[i + 1];
    }
    const int64_t target = row * x.q.dim + feature;
    Four sum = active ? loadPack<4>(Dev<const float>(x.sum) + target) : Four{};
    for (int64_t k = first; k < last; k += kWarp) {
      float g = 0;
      const int64_t from = k + lane() < last ? source(k + lane(), i, row, g) : -1;
      const uint32_t found = ballot(from >= 0);
      if (found == 0xffffffffu) {  // the usual case, in which the loads of several winners overlap
#pragma unroll 8
        for (int l = 0; l < kWarp; ++l) {
          const int64_t winner = shuffle(from, l);
          const float share = shuffle(g, l);
          if (active) addScaled(sum, share, loadFloats<4>(x.d.data + (winner * x.q.dim + feature)));
        }
        continue;
      }
      for (uint32_t left = found; left; left &= left - 1) {
        const int64_t winner = shuffle(from, lowestBit(left));
        const float share = shuffle(g, lowestBit(left));
        if (active) addScaled(sum, share, loadFloats<4>(x.d.data + (winner * x.q.dim + feature)));
      }
    }
    if (active) storePack<4>(x.sum + target, sum);
  }
};

// rowQuery[r]: the query of row r.
struct FindQueries {
  static constexpr int kThreads = 256, kMinBlocks = 4;
  Dev<const int64_t> segments;
  Dev<int32_t> rowQuery;
  int64_t rows, queries;

  LF_DEVICE void operator()() const {
    const int64_t row = blockX() * kThreads + thread();
    if (row < rows) rowQuery[row] = static_cast<int32_t>(sequenceOf(segments, queries, row));
  }
};

// dd, all pairs: a block owns `owned` consecutive rows of dd, of whatever documents, in shared memory; each of its
// warps every 16th. Query rows stream through a ring; per 32 of them a warp asks which won one of its rows.
template <class T>
struct ScatterToDocuments {
  static constexpr int kThreads = 512, kMinBlocks = 1, kWarps = kThreads / kWarp;
  static constexpr int kGroups = sizeof(T) == 4 ? 1 : 2, kRows = 32 * kGroups, kStages = 3;
  static constexpr int kUnit = 16 / sizeof(T);
  Gradient<T> x;
  Dev<const int32_t> rowQuery;
  int64_t owned;

  static constexpr int64_t ringBytes() { return sharedSize<T>(kStages * kRows * kSlab); }
  static constexpr int64_t sharedBytes(int64_t owned) { return ringBytes() + sharedSize<float>(owned * kSlab); }

  // What the lane's rows of a tile give to one document.
  struct Entries {
    int32_t token[kGroups];
    float g[kGroups];
  };

  LF_DEVICE void copyTile(Shared<T> ring, int64_t tile) const {
    const int64_t slab = blockY() * kSlab;
    for (int at = thread(); at < kRows * (kSlab / kUnit); at += kThreads) {
      const int64_t row = tile * kRows + at / (kSlab / kUnit), feature = slab + at % (kSlab / kUnit) * kUnit;
      if (row < x.q.rows && feature < x.q.dim)
        copyAsync<16>(ring + (tile % kStages * kRows * kSlab + at * kUnit), x.q.data + (row * x.q.dim + feature));
    }
    commitCopies();
  }

  LF_DEVICE void queriesOfTile(int32_t (&query)[kGroups], int64_t tile) const {
#pragma unroll
    for (int h = 0; h < kGroups; ++h) {
      const int64_t row = tile * kRows + h * kWarp + lane();
      query[h] = row < x.q.rows ? rowQuery[row] : -1;
    }
  }

  LF_DEVICE Entries fetch(const int32_t (&query)[kGroups], int64_t tile, int64_t j) const {
    Entries e;
    const int64_t tokens = x.d.length(j);
#pragma unroll
    for (int h = 0; h < kGroups; ++h) {
      const bool valid = query[h] >= 0;
      e.token[h] = valid ? x.argmax.at(j * x.q.rows + tile * kRows + h * kWarp + lane(), tokens) : -1;
      e.g[h] = valid ? x.dscores[query[h] * x.d.sequences + j] : 0;
    }
    return e;
  }

  // The row of dd a warp is adding to; others of its rows are in shared memory.
  struct Current {
    int row = -1;
    Four sum;
  };

  LF_DEVICE void apply(Current& current, Shared<float> rows, Shared<const T> tile, const Entries& e, int offset,
                       int count) const {
#pragma unroll
    for (int h = 0; h < kGroups; ++h) {
      const int row = e.token[h] + offset;
      const bool mine = e.token[h] >= 0 && e.g[h] != 0 && row >= 0 && row < count && row % kWarps == warp();
      for (uint32_t left = ballot(mine); left; left &= left - 1) {
        const int from = lowestBit(left), target = shuffle(row, from);
        const float g = shuffle(e.g[h], from);
        if (target != current.row) {
          put(current, rows);
          current.row = target;
          current.sum = *recast<const Four>(rows + (target * kSlab + 4 * lane()));
        }
        const auto q = *recast<const Pack<T, 4>>(tile + ((h * kWarp + from) * kSlab + 4 * lane()));
        for (int k = 0; k < 4; ++k) current.sum[k] = fusedMultiplyAdd(g, widen(q[k]), current.sum[k]);
      }
    }
  }
  LF_DEVICE void put(const Current& current, Shared<float> rows) const {
    if (current.row >= 0) *recast<Four>(rows + (current.row * kSlab + 4 * lane())) = current.sum;
  }

  LF_DEVICE void operator()() const {
    SharedMemory shared;
    const Shared<T> ring = shared.take<T>(kStages * kRows * kSlab);
    const Shared<float> rows = shared.take<float>(owned * kSlab);
    const int64_t begin = blockX() * owned, end = begin + owned < x.d.rows ? begin + owned : x.d.rows;
    const int count = static_cast<int>(end - begin);
    const int64_t feature = blockY() * kSlab + 4 * lane();
    const bool active = feature < x.q.dim;
    for (int r = warp(); active && r < count; r += kWarps)
      *recast<Four>(rows + (r * kSlab + 4 * lane())) =
          loadPack<4>(Dev<const float>(x.sum) + ((begin + r) * x.d.dim + feature));
    const int64_t tiles = (x.q.rows + kRows - 1) / kRows;
    const int64_t firstDocument = sequenceOf(x.d.segments, x.d.sequences, begin);
    for (int stage = 0; stage < kStages - 1; ++stage) copyTile(ring, stage);
    int32_t query[kGroups], nextQuery[kGroups];
    queriesOfTile(query, 0);
    Entries next = fetch(query, 0, firstDocument);
    Current current;
    for (int64_t tile = 0; tile < tiles; ++tile) {
      waitCopies<kStages - 2>();
      syncThreads();
      copyTile(ring, tile + kStages - 1);
      queriesOfTile(nextQuery, tile + 1);
      const Shared<const T> here = ring + tile % kStages * kRows * kSlab;
      for (int64_t j = firstDocument; j < x.d.sequences && x.d.begin(j) < end; ++j) {
        // The entries of the next document, or of the first one with the next tile, come while these are worked on.
        const Entries now = next;
        if (j + 1 < x.d.sequences && x.d.begin(j + 1) < end)
          next = fetch(query, tile, j + 1);
        else
          next = fetch(nextQuery, tile + 1, firstDocument);
        apply(current, rows, here, now, static_cast<int>(x.d.begin(j) - begin), count);
      }
#pragma unroll
      for (int h = 0; h < kGroups; ++h) query[h] = nextQuery[h];
    }
    waitCopies<0>();
    put(current, rows);
    for (int r = warp(); active && r < count; r += kWarps)
      storePack<4>(x.sum + ((begin + r) * x.d.dim + feature), *recast<const Four>(rows + (r * kSlab + 4 * lane())));
  }
};

// dd, groups and pairs: a block per document, whose warps share its rows; few rows are touched, and in place.
template <class T>
struct ScatterPairs {
  static constexpr int kThreads = 256, kMinBlocks = 4, kWarps = kThreads / kWarp;
  Gradient<T> x;

  LF_DEVICE void add(int64_t k, int64_t j) const {
    const float g = x.dscores[k];
    if (g == 0) return;
    const int64_t i = x.pairs.query(k), from = x.q.begin(i), rows = x.q.length(i), begin = x.d.begin(j);
    const int64_t tokens = x.d.length(j);
    const int64_t feature = blockY() * kSlab + 4 * lane();
    for (int64_t first = 0; first < rows; first += kWarp) {
      const int32_t token = first + lane() < rows ? x.argmax.at(x.starts[k] + first + lane(), tokens) : -1;
      for (uint32_t left = ballot(token >= 0 && token % kWarps == warp()); left; left &= left - 1) {
        const int64_t row = from + first + lowestBit(left), target = begin + shuffle(token, lowestBit(left));
        if (feature >= x.q.dim) continue;
        Four sum = loadPack<4>(Dev<const float>(x.sum) + (target * x.d.dim + feature));
        addScaled(sum, g, loadFloats<4>(x.q.data + (row * x.q.dim + feature)));
        storePack<4>(x.sum + (target * x.d.dim + feature), sum);
      }
    }
  }

  LF_DEVICE void operator()() const {
    const int64_t j = blockX();
    if (x.pairs.layout == Layout::grouped) return add(j, j);
    for (int64_t k = 0; k < x.pairs.count; k += kWarp) {
      const bool mine = k + lane() < x.pairs.count && x.pairs.document(k + lane()) == j;
      for (uint32_t left = ballot(mine); left; left &= left - 1) add(k + lowestBit(left), j);
    }
  }
};

// Rows of dd a block owns: what its shared memory holds, or fewer where that leaves a GPU idle.
template <class T>
int64_t ownedRows(const Context& context, int64_t tokens) {
  using Kernel = ScatterToDocuments<T>;
  constexpr int64_t kMultiprocessors = 132;
  const int64_t most = (context.sharedLimit - Kernel::ringBytes()) / (kSlab * 4) / Kernel::kWarps * Kernel::kWarps;
  return std::clamp(divideUp(divideUp(tokens, kMultiprocessors), Kernel::kWarps) * Kernel::kWarps,
                    int64_t{Kernel::kWarps}, most);
}

template <class T>
int32_t run(const OpCall& call, Context& context, const MaxsimCall& m) {
  const View &dq = call.in[7], &dd = call.in[8];
  Gradient<T> x{queriesOf<T>(call, m),  documentsOf<T>(call, m),      m.pairs, m.starts,
                argmaxFrom(call.in[5]), dev<const float>(call.in[6]), nullptr};
  const int64_t slabs = divideUp(m.dim, kSlab);
  if (dq.present()) {
    x.sum = dev<float>(dq);
    if (launch(context, {divideUp(m.queryTokens, GatherToQueries<T>::kThreads / kWarp), slabs}, 0,
               GatherToQueries<T>{x}))
      return 1;
  }
  if (!dd.present()) return 0;
  x.sum = dev<float>(dd);
  if (m.layout != Layout::all) return launch(context, {m.documents, slabs}, 0, ScatterPairs<T>{x});
  const Dev<int32_t> rowQuery = workspace<int32_t>(call, 0, m.queryTokens);
  if (launch(context, {divideUp(m.queryTokens, FindQueries::kThreads)}, 0,
             FindQueries{m.qSegments, rowQuery, m.queryTokens, m.queries}))
    return 1;
  const int64_t owned = ownedRows<T>(context, m.documentTokens);
  return launch(context, {divideUp(m.documentTokens, owned), slabs}, ScatterToDocuments<T>::sharedBytes(owned),
                ScatterToDocuments<T>{x, rowQuery, owned});
}

}  // namespace

bool fitsOwners(const OpCall& call, const MaxsimCall& m) {
  return aligned(call.in[0], call.in[2], call.in[7], call.in[8]) && m.pairs.count && m.queryTokens && m.documentTokens;
}

int32_t maxsimBackwardByOwner(const OpCall& call, Context& context, const MaxsimCall& m) {
  return withTokens(call.in[0].dtype, [&](auto zero) { return run<decltype(zero)>(call, context, m); });
}

}  // namespace lateforge::cuda
