// MaxSim on the tensor cores (mma.sync, sm_80 and newer): float16 and bfloat16 of up to 128 features. No similarity
// ever leaves the registers.
//
// A warp holds 32 query rows in registers for all features. Documents are streamed once per block through a ring of
// kStages × 64 tokens; every 16 tokens by 16 features that a warp loads feed four multiplications. The maximum over a
// document runs down the lane's registers; four lanes share a row and meet once per document. A stacked block has 8
// warps and 256 rows; a single one 4 warps, each with a quarter of the tokens.
#pragma once

#include "../../cuda/device/mma.cuh"
#include "tiles.cuh"

namespace lateforge::cuda {

constexpr int kStageTokens = 64, kStages = 4;

// Operands and grid are those of Tiles (tiles.cuh); kRows rows of q a block, kStageTokens tokens of d at a time.
template <class T, int kSteps, int kRowWarps, int kTokenWarps, bool kArgmax>
struct TensorMaxsim {
  static constexpr int kWarps = kRowWarps * kTokenWarps, kThreads = kWarp * kWarps;
  static constexpr int kMinBlocks = kWarps == 8 ? 1 : 2;
  static constexpr int kRows = 32 * kRowWarps;
  // Features are padded with zeros to whole steps. Rows lie an odd number of 16-byte units apart, so that ldmatrix
  // finds eight of them in different banks.
  static constexpr int kUnits = 2 * kSteps, kPitch = 8 * (kUnits + 1);

  using Work = Tiles<T, kRows, kTokenWarps, kArgmax>;
  Work work;

  static constexpr int64_t sharedBytes() {
    return sharedSize<T>(kStages * kStageTokens * kPitch) + 2 * sharedSize<float>(2 * kTokenWarps * kRows);
  }

  // Rows [0, count) of `from` into `to`; beyond `length` the last one again.
  LF_DEVICE void copyRows(Shared<T> to, Dev<const T> data, int64_t from, int count, int64_t length) const {
    for (int at = thread(); at < count * kUnits; at += kThreads) {
      const int row = at / kUnits, unit = at % kUnits;
      const bool valid = unit * 8 < work.q.dim;
      const int64_t source = from + (row < length ? row : length - 1);
      copyAsync<16>(to + (row * kPitch + unit * 8), data + (valid ? source * work.q.dim + unit * 8 : 0), valid);
    }
  }

  LF_DEVICE void copyStage(Shared<T> ring, int stage, const Walk<kStageTokens>& walk, int64_t lastDocument) const {
    if (walk.j < lastDocument && walk.tokens() > 0)
      copyRows(ring + stage % kStages * kStageTokens * kPitch, work.d.data, walk.begin + walk.first,
               (walk.tokens() + 15) / 16 * 16, walk.tokens());
    commitCopies();
  }

  // Offers kAtOnce times 16 tokens, kTokenWarps chunks of 16 apart from `c` on. Two at once keep eight products in
  // flight, which is what it takes to hide the latency of one.
  template <int kAtOnce>
  LF_DEVICE void offer(Best<kArgmax>& best, const FragmentA (&rows)[2][kSteps], Shared<T> stage, int first,
                       int c) const {
    const int row = lane() % 8 + lane() / 16 * 8, column = lane() / 8 % 2 * 8;
    const Shared<T> source = stage + ((c * 16 + row) * kPitch + column);
    FragmentC sims[kAtOnce][2][2] = {};
#pragma unroll
    for (int k = 0; k < kSteps; ++k)
#pragma unroll
      for (int a = 0; a < kAtOnce; ++a) {
        uint32_t word[4];
        loadMatrix<4>(word, source + (a * kTokenWarps * 16 * kPitch + k * 16));
        const FragmentB left{{word[0], word[1]}}, right{{word[2], word[3]}};
#pragma unroll
        for (int m = 0; m < 2; ++m) {
          mma<T>(sims[a][m][0], rows[m][k], left);
          mma<T>(sims[a][m][1], rows[m][k], right);
        }
      }
    const int token = first + c * 16 + 2 * (lane() % 4);
#pragma unroll
    for (int a = 0; a < kAtOnce; ++a)
#pragma unroll
      for (int n = 0; n < 4; ++n)
#pragma unroll
        for (int r = 0; r < 4; ++r)
          best.offer(r, sims[a][r / 2][n / 2].value[2 * (r % 2) + n % 2],
                     token + a * kTokenWarps * 16 + 8 * (n / 2) + n % 2);
  }

  // Offers a stage's tokens.
  LF_DEVICE void scan(Best<kArgmax>& best, const FragmentA (&rows)[2][kSteps], Shared<T> stage, int first,
                      int tokens) const {
    const int chunks = (tokens + 15) / 16;
    int c = warp() / kRowWarps;
#pragma unroll 1
    for (; c + kTokenWarps < chunks; c += 2 * kTokenWarps) offer<2>(best, rows, stage, first, c);
    if (c < chunks) offer<1>(best, rows, stage, first, c);
  }

  // A document ends: the four lanes of a row meet. Where warps shared its tokens, they meet in `most` and `tokens`.
  LF_DEVICE void flush(const Task& t, Best<kArgmax>& best, Shared<float> most, Shared<int> tokens, int64_t j) const {
    best.template meet<4>();
    const int r = lane() % 4, row = warp() % kRowWarps * 32 + 16 * (r / 2) + 8 * (r % 2) + lane() / 4;
    best.choose(r);
    const int at = warp() / kRowWarps * kRows + row;
    if constexpr (kTokenWarps == 1) {
      most[at] = work.finish(t, row, best.value[0], best.token[0], j);
    } else {
      most[at] = best.value[0];
      if constexpr (kArgmax) tokens[at] = best.token[0];
    }
    best.clear();
  }

  LF_DEVICE void operator()() const {
    SharedMemory shared;
    const Shared<T> ring = shared.take<T>(kStages * kStageTokens * kPitch);
    const Shared<float> most = shared.take<float>(2 * kTokenWarps * kRows);
    const Shared<int> tokens = shared.take<int>(2 * kTokenWarps * kRows);
    const Task t = work.task();
    if (t.nothing()) return;
    const MaxsimTokens<T>&q = work.q, &d = work.d;
    // Queries arrive in the last stages of the ring; where they leave some free, documents arrive beside them.
    constexpr int kFree = kStages - (kRows + kStageTokens - 1) / kStageTokens;
    const Shared<T> queries = ring + kFree * kStageTokens * kPitch;
    Walk<kStageTokens> ahead(d.segments, d.sequences, t.firstDocument), now = ahead;
    const auto prefetch = [&] {
      for (int stage = 0; stage < kStages - 1; ++stage) {
        copyStage(ring, stage, ahead, t.lastDocument);
        if (ahead.j < t.lastDocument) ahead.advance();
      }
    };
    if (t.rows > 0) copyRows(queries, q.data, t.firstRow, kRows, t.rows);
    commitCopies();
    if constexpr (kFree >= kStages - 1) {
      prefetch();
      waitCopies<kStages - 1>();
    } else {
      waitCopies<0>();
    }
    syncThreads();
    FragmentA rows[2][kSteps];
    const Shared<T> mine = queries + ((warp() % kRowWarps * 32 + lane() % 16) * kPitch + lane() / 16 * 8);
#pragma unroll
    for (int m = 0; m < 2; ++m)
#pragma unroll
      for (int k = 0; k < kSteps; ++k) loadMatrix<4>(rows[m][k].word, mine + (m * 16 * kPitch + k * 16));
    if constexpr (kFree < kStages - 1) {
      syncThreads();
      prefetch();
    }
    Best<kArgmax> best;
    best.clear();
    int64_t summed = t.firstDocument;  // documents whose scores are on their way
    const auto sumNext = [&] {
      if (summed == now.j) return;
      const int half = static_cast<int>(summed % 2) * kTokenWarps * kRows;
      if (warp() == summed % kWarps) work.sum(t, most + half, tokens + half, summed);
      ++summed;
    };
    for (int stage = 0; now.j < t.lastDocument; ++stage) {
      waitCopies<kStages - 2>();
      syncThreads();  // the stage is here, and everyone has left the one before it
      copyStage(ring, stage + kStages - 1, ahead, t.lastDocument);
      if (ahead.j < t.lastDocument) ahead.advance();
      sumNext();
      scan(best, rows, ring + stage % kStages * kStageTokens * kPitch, static_cast<int>(now.first), now.tokens());
      if (now.last()) {
        const int half = static_cast<int>(now.j % 2) * kTokenWarps * kRows;
        flush(t, best, most + half, tokens + half, now.j);
      }
      now.advance();
    }
    syncThreads();
    sumNext();
    waitCopies<0>();
  }
};

}  // namespace lateforge::cuda
