// How the fast forwards of MaxSim go over their work: tiles of query rows (fastest) times chunks of documents. What
// they share is here; how similarities are made is theirs (maxsim_mma.cu, maxsim_simt.cu).
//   Stacked  many rows of several queries over the same documents: all pairs
//   single   32 rows of one query: few queries, groups, pairs
// Rows beyond the end of a document repeat its last token, which never changes a maximum or its lowest index.
#pragma once

#include <algorithm>
#include <limits>

#include "../../cuda/device/async.cuh"
#include "../../cuda/device/warp.cuh"
#include "../../cuda/elements.cuh"
#include "cuda.h"

namespace lateforge::cuda {

struct Cut {
  int64_t tiles, chunks;
  int64_t perTile;  // queries of a stacked tile; 0: those that start in the next `rowsPerTile` rows
  int64_t rowsPerTile;
  int64_t blocks;  // row blocks of the longest query, a tile each; 0: stacked tiles, which hold whole queries
};

// The first index of the ascending v [n] whose value is at least x, or n; asked by all lanes of a warp.
LF_DEVICE int64_t lowerBound(Dev<const int64_t> v, int64_t n, int64_t x) {
  int64_t low = 0, high = n;
  while (low < high) {
    const int64_t step = (high - low + kWarp - 1) / kWarp, at = low + (lane() + 1) * step - 1;
    low += countBits(ballot(at < high && v[at] < x)) * step;
    high = low + step - 1 < high ? low + step - 1 : high;
  }
  return low;
}

// The stages of consecutive documents, in order. An empty document has one, without tokens.
template <int kStageTokens>
struct Walk {
  Dev<const int64_t> segments;
  int64_t documents, j, begin, end, next;
  int64_t first;  // token of the document the stage starts with

  LF_DEVICE Walk(Dev<const int64_t> from, int64_t count, int64_t start)
      : segments(from), documents(count), j(start), begin(from[start]), first(0) {
    end = j < documents ? from[j + 1] : begin;
    next = after();
  }
  LF_DEVICE int64_t after() const { return j + 2 <= documents ? segments[j + 2] : end; }
  LF_DEVICE int64_t length() const { return end - begin; }
  LF_DEVICE bool last() const { return first + kStageTokens >= length(); }
  // Tokens of the stage.
  LF_DEVICE int tokens() const { return last() ? static_cast<int>(length() - first) : kStageTokens; }
  LF_DEVICE void advance() {
    if (!last()) {
      first += kStageTokens;
      return;
    }
    ++j;
    first = 0;
    begin = end;
    end = next;
    next = after();
  }
};

// The best tokens of one document so far, for the four rows of a lane.
template <bool kArgmax>
struct Best {
  float value[4];
  int token[4];

  LF_DEVICE void clear() {
#pragma unroll
    for (int r = 0; r < 4; ++r) {
      value[r] = -infinity();
      token[r] = 0;
    }
  }
  // A later token wins only if it is larger; NaN stays and is found again at the end.
  LF_DEVICE void offer(int r, float x, int at) {
    if constexpr (kArgmax) token[r] = x > value[r] ? at : token[r];
    value[r] = maximum(value[r], x);
  }
  LF_DEVICE static bool beats(float value, int token, float than, int thanToken) {
    return value > than || (value == than && token < thanToken);
  }
  // `lanes` neighbours (a power of two) have the same rows, and different tokens.
  template <int lanes>
  LF_DEVICE void meet() {
#pragma unroll
    for (int mask = 1; mask < lanes; mask *= 2)
#pragma unroll
      for (int r = 0; r < 4; ++r) {
        const float other = shuffleXor(value[r], mask);
        if constexpr (kArgmax) {
          const int at = shuffleXor(token[r], mask);
          if (beats(other, at, value[r], token[r])) token[r] = at;
        }
        value[r] = maximum(value[r], other);
      }
  }
  // Row r of the lane becomes its first.
  LF_DEVICE void choose(int r) {
#pragma unroll
    for (int other = 1; other < 4; ++other)
      if (r == other) {
        value[0] = value[other];
        token[0] = token[other];
      }
  }
};

// What a block works on.
struct Task {
  int64_t firstRow;  // of q
  int rows;
  int64_t firstQuery, lastQuery;
  int block;  // row block of the query, 0 for stacked tiles
  int64_t firstDocument, lastDocument;
  int64_t pair;  // groups and pairs

  LF_DEVICE bool nothing() const { return firstDocument >= lastDocument || (block && !rows); }
};

// The params of a forward, and what becomes of the maxima of a tile of kRows rows. kShares groups of warps may have
// shared the tokens of a document.
template <class T, int kRows, int kShares, bool kArgmax>
struct Tiles {
  MaxsimTokens<T> q, d;
  PairList pairs;
  Dev<const int64_t> starts;
  Dev<float> scores, partial;
  ArgmaxWriter argmax;
  Cut cut;
  int64_t parts;
  bool clampNegatives;

  LF_DEVICE Task task() const {
    Task t;
    const int64_t tile = blockX() % cut.tiles, chunk = blockX() / cut.tiles;
    t.block = 0;
    t.pair = 0;
    if (pairs.layout == Layout::all) {
      t.firstDocument = lowerBound(d.segments, d.sequences, d.rows * chunk / cut.chunks);
      t.lastDocument = chunk + 1 == cut.chunks ? d.sequences
                                               : lowerBound(d.segments, d.sequences, d.rows * (chunk + 1) / cut.chunks);
    }
    if (cut.blocks) {
      t.block = static_cast<int>(tile % cut.blocks);
      t.firstQuery = tile / cut.blocks;
      if (pairs.layout != Layout::all) {
        t.pair = t.firstQuery;
        t.firstQuery = pairs.query(t.pair);
        t.firstDocument = pairs.document(t.pair);
        t.lastDocument = t.firstDocument + 1;
      }
      t.lastQuery = t.firstQuery + 1;
    } else if (cut.perTile) {
      t.firstQuery = tile * cut.perTile;
      t.lastQuery = t.firstQuery + cut.perTile < q.sequences ? t.firstQuery + cut.perTile : q.sequences;
    } else {
      t.firstQuery = lowerBound(q.segments, q.sequences, tile * cut.rowsPerTile);
      t.lastQuery = lowerBound(q.segments, q.sequences, (tile + 1) * cut.rowsPerTile);
    }
    t.firstRow = q.segments[t.firstQuery] + t.block * kRows;
    const int64_t rows = q.segments[t.lastQuery] - t.firstRow;
    t.rows = static_cast<int>(rows < 0 ? 0 : rows < kRows ? rows : kRows);
    return t;
  }

  // The value that counts for a row; its winner is written.
  LF_DEVICE float finish(const Task& t, int row, float value, [[maybe_unused]] int token, int64_t j) const {
    const int64_t tokens = d.length(j);
    const bool none = !tokens || (clampNegatives && value < 0);
    if constexpr (kArgmax) {
      const int64_t before = starts ? starts[t.pair] + t.block * kRows : j * q.rows + t.firstRow;
      if (row < t.rows)
        argmax.put(before + row, none ? -1 : value == value ? token : firstNaN(t.firstRow + row, j, tokens));
    }
    return none ? 0 : value;
  }

  LF_DEVICE int firstNaN(int64_t row, int64_t j, int64_t tokens) const {
    for (int64_t u = 0; u < tokens; ++u) {
      const float sim = innerProduct<T>(q.data + row * q.dim, d.data + (d.begin(j) + u) * q.dim, q.dim);
      if (sim != sim) return static_cast<int>(u);
    }
    return 0;
  }

  LF_DEVICE static float sumOf(Shared<float> most, int first, int last) {
    float sum = 0;
    for (int r = first; r < last; ++r) sum += most[r];
    return sum;
  }

  // One warp turns the rows' maxima into scores, or into the sums of 32 rows where a query has more than one block.
  LF_DEVICE void sum(const Task& t, Shared<float> most, [[maybe_unused]] Shared<int> tokens, int64_t j) const {
    if constexpr (kShares > 1) {
      static_assert(kRows == kWarp);
      float value = most[lane()];
      int token = 0;
      if constexpr (kArgmax) token = tokens[lane()];
      for (int w = 1; w < kShares; ++w) {
        const float other = most[w * kRows + lane()];
        if constexpr (kArgmax)
          if (const int candidate = tokens[w * kRows + lane()]; Best<kArgmax>::beats(other, candidate, value, token))
            token = candidate;
        value = maximum(value, other);
      }
      value = finish(t, lane(), value, token, j);
      syncWarp();
      most[lane()] = value;
      syncWarp();
    }
    const int64_t pair = pairs.layout == Layout::all ? t.firstQuery * d.sequences + j : t.pair;
    if (parts > 1 && cut.blocks) {
      if (const int first = lane() * kPart; first < t.rows)
        partial[pair * parts + t.block * (kRows / kPart) + lane()] =
            sumOf(most, first, first + kPart < t.rows ? first + kPart : t.rows);
      return;
    }
    for (int64_t i = t.firstQuery + lane(); i < t.lastQuery; i += kWarp) {
      const int first = static_cast<int>(q.segments[i] - t.firstRow);
      const int last = static_cast<int>(q.segments[i + 1] - t.firstRow);
      float score = 0;
      for (int r = first; r < last; r += kPart) score += sumOf(most, r, r + kPart < last ? r + kPart : last);
      scores[pairs.layout == Layout::all ? i * d.sequences + j : t.pair] = score;
    }
  }
};

// Scores of queries with several parts.
struct AddParts {
  static constexpr int kThreads = 256, kMinBlocks = 4;
  PairList pairs;
  Dev<const int64_t> qSegments;
  Dev<const float> partial;
  Dev<float> scores;
  int64_t parts;

  LF_DEVICE void operator()() const {
    const int64_t pair = blockX() * kThreads + thread();
    if (pair >= pairs.count) return;
    const int64_t i = pairs.query(pair), own = (qSegments[i + 1] - qSegments[i] + kPart - 1) / kPart;
    float score = 0;
    for (int64_t p = 0; p < own; ++p) score += partial[pair * parts + p];
    scores[pair] = score;
  }
};

// Chunks of documents that `tiles` row tiles go over, so that blocks fill a GPU evenly and a block's start (in the time
// of so many tokens) is paid by enough work. Scores do not depend on it. The slots are an H100's.
inline int64_t chunksOf(int64_t tiles, int64_t tokens, int64_t documents, int64_t slots) {
  constexpr int64_t kStart = 128;
  const int64_t most = std::max<int64_t>(1, std::min(documents, tokens / 64));
  int64_t best = 1, least = std::numeric_limits<int64_t>::max();
  for (int64_t waves = 1; waves <= 16; ++waves) {
    const int64_t chunks = std::clamp<int64_t>(waves * slots / tiles, 1, most);
    const int64_t cost = divideUp(tiles * chunks, slots) * (divideUp(tokens, chunks) + kStart);
    if (cost < least) {
      least = cost;
      best = chunks;
    }
  }
  return best;
}

constexpr int64_t kMultiprocessors = 132;

// stackedRows: of a stacked tile, kStackedRows at least, 0 for single ones; slots: blocks that run at once.
inline Cut cutOf(const MaxsimCall& m, int64_t stackedRows, int64_t slots) {
  Cut cut{};
  const int64_t rows = stackedRows ? stackedRows : kPart;
  if (!stackedRows || m.longestQuery > rows) {
    cut.blocks = divideUp(m.longestQuery, rows);
    cut.tiles = cut.blocks * (m.layout == Layout::all ? m.queries : m.pairs.count);
  } else {
    // As many whole queries as fit whatever their lengths, or those that start in so many rows that the last one fits:
    // the one is full for equal lengths, the other nearly full for any.
    const int64_t perTile = rows / m.longestQuery, rowsPerTile = rows + 1 - m.longestQuery;
    const int64_t byCount = divideUp(m.queries, perTile), byStart = m.queryTokens / rowsPerTile + 1;
    cut.tiles = std::min(byCount, byStart);
    cut.perTile = byCount <= byStart ? perTile : 0;
    cut.rowsPerTile = rowsPerTile;
  }
  cut.chunks = m.layout == Layout::all ? chunksOf(cut.tiles, m.documentTokens, m.documents, slots) : 1;
  return cut;
}

// Launches Kernel{tiles}, and adds up the parts of long queries.
template <class Kernel, class T>
int32_t runTiles(const OpCall& call, Context& context, const MaxsimCall& m, const Cut& cut) {
  const int64_t pairs = m.pairs.count, parts = m.parts();
  const Dev<float> scores = dev<float>(call.out[0]);
  const int64_t front = m.layout == Layout::all ? 0 : (pairs + 1) * 8;
  const Dev<float> partial = cut.blocks && parts > 1 ? workspace<float>(call, front, pairs * parts) : nullptr;
  if (launch(context, {cut.tiles * cut.chunks}, Kernel::sharedBytes(),
             Kernel{{queriesOf<T>(call, m), documentsOf<T>(call, m), m.pairs, m.starts, scores, partial,
                     argmaxTo(call.out[1]), cut, parts, m.clampNegatives}}))
    return 1;
  if (!partial) return 0;
  return launch(context, {divideUp(pairs, AddParts::kThreads)}, 0,
                AddParts{m.pairs, m.qSegments, partial, scores, parts});
}

}  // namespace lateforge::cuda
