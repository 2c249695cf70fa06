// MaxSim on the ordinary cores: float32, and more than 128 features of any type. Every inner product is one chain of
// fused multiply-adds in the order of the features: the bits of the plain kernel.
//
// A lane has four rows times four tokens in registers (of an empty document nothing that counts). Slabs of kSlab
// features of the block's query rows and of kTokens document tokens come through a ring.
#include "../../cuda/device/async.cuh"
#include "tiles.cuh"

namespace lateforge::cuda {
namespace {

template <class T, int kRows, int kTokens, bool kArgmax>
struct SimtMaxsim {
  static constexpr int kThreads = kRows * kTokens / 16, kMinBlocks = kThreads == 256 ? 1 : 3, kWarps = kThreads / kWarp;
  static constexpr int kStages = 4, kSlab = 32;
  // Lanes of a row, neighbours in a warp; a lane's tokens and rows lie kAcross and kDown apart.
  static constexpr int kAcross = kTokens / 4, kDown = kRows / 4;
  static_assert(kAcross <= kWarp && kDown * kAcross == kThreads);
  // Rows of an odd number of 16-byte units: eight neighbours lie in different banks.
  static constexpr int kUnit = 16 / sizeof(T), kUnits = kSlab / kUnit, kPitch = kSlab + kUnit;
  static constexpr int kStage = (kRows + kTokens) * kPitch;

  using Work = Tiles<T, kRows, 1, kArgmax>;
  Work work;

  static constexpr int64_t sharedBytes() { return sharedSize<T>(kStages * kStage) + sharedSize<float>(2 * kRows); }

  // Features first … of `count` rows from row `from` of data, the last row repeated, zeros beyond the last feature.
  LF_DEVICE void copyRows(Shared<T> to, const MaxsimTokens<T>& x, int64_t from, int count, int length,
                          int64_t first) const {
    for (int at = thread(); at < count * kUnits; at += kThreads) {
      const int row = at / kUnits;
      const int64_t feature = first + at % kUnits * kUnit, source = from + (row < length ? row : length - 1);
      const bool valid = feature < x.dim;
      copyAsync<16>(to + (row * kPitch + at % kUnits * kUnit), x.data + (valid ? source * x.dim + feature : 0), valid);
    }
  }

  LF_DEVICE void copyStage(Shared<T> stage, const Task& t, const Walk<kTokens>& walk, int64_t first) const {
    if (walk.j < t.lastDocument && walk.tokens() > 0 && t.rows > 0) {
      copyRows(stage, work.q, t.firstRow, kRows, t.rows, first);
      copyRows(stage + kRows * kPitch, work.d, walk.begin + walk.first, kTokens, walk.tokens(), first);
    }
    commitCopies();
  }

  // Adds a slab to the 4 × 4 products of the lane.
  LF_DEVICE void multiply(float (&sims)[4][4], Shared<const T> stage) const {
    const Shared<const T> rows = stage + thread() / kAcross * kPitch;
    const Shared<const T> tokens = stage + (kRows + thread() % kAcross) * kPitch;
#pragma unroll
    for (int k = 0; k < kSlab; k += 4) {
      Pack<T, 4> d[4];
#pragma unroll
      for (int n = 0; n < 4; ++n) d[n] = *recast<const Pack<T, 4>>(tokens + (n * kAcross * kPitch + k));
#pragma unroll
      for (int r = 0; r < 4; ++r) {
        const auto q = *recast<const Pack<T, 4>>(rows + (r * kDown * kPitch + k));
#pragma unroll
        for (int f = 0; f < 4; ++f)
#pragma unroll
          for (int n = 0; n < 4; ++n) sims[r][n] = fusedMultiplyAdd(widen(q[f]), widen(d[n][f]), sims[r][n]);
      }
    }
  }

  LF_DEVICE void operator()() const {
    SharedMemory shared;
    const Shared<T> ring = shared.take<T>(kStages * kStage);
    const Shared<float> most = shared.take<float>(2 * kRows);
    const Task t = work.task();
    if (t.nothing()) return;
    Walk<kTokens> ahead(work.d.segments, work.d.sequences, t.firstDocument), now = ahead;
    int64_t slabAhead = 0, slab = 0;  // first features
    const auto next = [&](Walk<kTokens>& walk, int64_t& first) {
      first += kSlab;
      if (first < work.d.dim) return;
      first = 0;
      walk.advance();
    };
    const auto fetch = [&](int stage) {
      copyStage(ring + stage % kStages * kStage, t, ahead, slabAhead);
      if (ahead.j < t.lastDocument) next(ahead, slabAhead);
    };
    for (int stage = 0; stage < kStages - 1; ++stage) fetch(stage);
    Best<kArgmax> best;
    best.clear();
    float sims[4][4] = {};
    int64_t summed = t.firstDocument;
    const auto sumNext = [&] {
      if (summed == now.j) return;
      if (warp() == summed % kWarps) work.sum(t, most + summed % 2 * kRows, nullptr, summed);
      ++summed;
    };
    for (int stage = 0; now.j < t.lastDocument; ++stage) {
      waitCopies<kStages - 2>();
      syncThreads();  // the stage is here, and everyone has left the one before it
      fetch(stage + kStages - 1);
      sumNext();
      multiply(sims, ring + stage % kStages * kStage);
      if (slab + kSlab >= work.d.dim) {  // the products are whole
#pragma unroll
        for (int n = 0; n < 4; ++n) {
          const int token = static_cast<int>(now.first) + thread() % kAcross + n * kAcross;
#pragma unroll
          for (int r = 0; r < 4; ++r) {
            best.offer(r, sims[r][n], token);
            sims[r][n] = 0;
          }
        }
        if (now.last()) {
          best.template meet<kAcross>();
          const int r = thread() % kAcross, row = thread() / kAcross + r * kDown;
          best.choose(r);
          if (r < 4) most[now.j % 2 * kRows + row] = work.finish(t, row, best.value[0], best.token[0], now.j);
          best.clear();
        }
      }
      next(now, slab);
    }
    syncThreads();
    sumNext();
    waitCopies<0>();
  }
};

template <class T, bool kArgmax>
int32_t run(const OpCall& call, Context& context, const MaxsimCall& m) {
  using Stacked = SimtMaxsim<T, kStackedRows, 32, kArgmax>;
  using Single = SimtMaxsim<T, 32, 64, kArgmax>;
  if (worthStacking(m.layout, m.queries, m.parts()))
    return runTiles<Stacked, T>(call, context, m, cutOf(m, kStackedRows, kMultiprocessors));
  return runTiles<Single, T>(call, context, m, cutOf(m, 0, 3 * kMultiprocessors));
}

}  // namespace

bool fitsCores(const OpCall& call, const MaxsimCall& m) {
  return aligned(call.in[0], call.in[2]) && m.pairs.count && m.queryTokens && m.documentTokens;
}

int32_t maxsimOnCores(const OpCall& call, Context& context, const MaxsimCall& m) {
  return withTokens(call.in[0].dtype, [&](auto zero) {
    using T = decltype(zero);
    return call.out[1].present() ? run<T, true>(call, context, m) : run<T, false>(call, context, m);
  });
}

}  // namespace lateforge::cuda
