// MaxSim: score(q, d) = sum over query tokens of the maximum over document tokens of their inner product.
//
// Query tokens lie in the lanes of vectors, document tokens are broadcast: the maximum over a document runs down a
// register and never across one. Queries are packed once into panels [dim][2 vectors of rows]; documents are read as
// they are, `kTile` tokens at a time, so that a tile of similarities lives in registers only. Rows of several queries
// share a panel, and a document stays in cache while a block of panels passes over it.
//
// Every inner product is one chain of fused multiply-adds in the order of the features, and every score is summed in
// the order of the query's tokens: bits depend neither on the layout of the call nor on the number of threads.
#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>
#include <utility>

#include "../../cpu/kernels.h"
#include "../../cpu/loops.h"
#include "backward.h"
#include "documents.h"
#include "operands.h"
#include "residual.h"
#include "scan.h"

namespace lateforge::cpu::LF_ISA {
namespace {

constexpr int64_t kBlockRows = 256;  // query rows that pass over a document while it is in cache

// Consecutive queries whose rows are packed together, in panels [dim, kVectors · lanes]; the last may be one vector
// wide.
template <class T>
struct Block {
  int64_t firstQuery, lastQuery, firstRow, lastRow;
  T* packed;
};

// The block's rows of q [Tq, dim] to its panels.
template <class T, class F>
void pack(const Tokens<T>& q, const Block<T>& block, F packPanel) {
  constexpr int64_t kPanel = kVectors * kLanes<T>;
  const int64_t rows = block.lastRow - block.firstRow, padded = roundUp(rows, kLanes<T>);
  for (int64_t row = 0; row < padded; row += kPanel) {
    const int64_t width = std::min(kPanel, padded - row);
    packPanel(q.row(block.firstRow + row), std::min(width, rows - row), q.dim, width, block.packed + row * q.dim);
  }
}

// Scores of a block's queries (stride apart) against one document of so many tokens, and argmax [rows of the block].
template <class T, class Index, class Document>
void scoreBlock(const Tokens<T>& q, const Block<T>& block, const Document& document, int64_t tokens,
                bool clampNegatives, T* scores, int64_t stride, Index* argmax) {
  constexpr int64_t lanes = kLanes<T>, kPanel = kVectors * lanes;
  constexpr bool kArgmax = !std::is_void_v<Index>;
  const int64_t padded = roundUp(block.lastRow - block.firstRow, lanes);
  alignas(LF_VECTOR_BYTES) Best<T> best;
  const T* values = reinterpret_cast<const T*>(best.value);
  const T* sums = reinterpret_cast<const T*>(best.sum);
  const auto* winning = reinterpret_cast<const IntOf<T>*>(best.token);
  for (int64_t i = block.firstQuery, row = 0; i < block.lastQuery; ++i) {
    T score = 0;
    for (const int64_t end = q.segments[i + 1] - block.firstRow; row < end; ++row) {
      const int64_t lane = row % kPanel;
      T value = 0;
      int64_t token = -1;
      if (tokens > 0) {
        if (lane == 0) {
          const T* panel = block.packed + row * q.dim;
          if (padded - row > lanes)
            document.template scan<2, kArgmax>(panel, q.dim, tokens, best);
          else
            document.template scan<1, kArgmax>(panel, q.dim, tokens, best);
        }
        value = values[lane];
        token = winning[lane];
        if (!std::isfinite(sums[lane]))
          value = scanRow(q.row(block.firstRow + row), q.dim, tokens, token,
                          [&](int64_t j, int64_t k) { return document.value(j, k, q.dim); });
        if (clampNegatives && value < 0) {
          value = 0;
          token = -1;
        }
      }
      score += value;
      // −1 becomes the largest value: no winner.
      if constexpr (kArgmax) argmax[row] = token < 0 ? std::numeric_limits<Index>::max() : static_cast<Index>(token);
    }
    scores[(i - block.firstQuery) * stride] = score;
  }
}

// The same against so many documents [count ≤ kTileRows, dim] of one token each, as vectors of whole texts are: they
// make one tile. scores from the first of them on; argmax of each, `rows` apart.
template <class T, class Index, class Document>
void scoreSingles(const Tokens<T>& q, const Block<T>& block, const Document& documents, int64_t count,
                  bool clampNegatives, T* scores, int64_t stride, Index* argmax, int64_t rows) {
  constexpr int64_t kPanel = kVectors * kLanes<T>;
  const int64_t padded = roundUp(block.lastRow - block.firstRow, kLanes<T>);
  alignas(LF_VECTOR_BYTES) T similarities[kTileRows * kPanel];
  for (int64_t i = block.firstQuery, row = 0; i < block.lastQuery; ++i) {
    T* to = scores + (i - block.firstQuery) * stride;
    std::fill_n(to, count, T{0});
    for (const int64_t end = q.segments[i + 1] - block.firstRow; row < end; ++row) {
      const int64_t lane = row % kPanel;
      if (lane == 0) {
        documents.similarities(block.packed + row * q.dim, q.dim, count, std::min(kPanel, padded - row), similarities,
                               kPanel);
      }
      for (int64_t j = 0; j < count; ++j) {
        T value = similarities[j * kPanel + lane];
        int64_t token = 0;
        if (!std::isfinite(value))
          value = scanRow(q.row(block.firstRow + row), q.dim, 1, token,
                          [&](int64_t, int64_t k) { return documents.value(j, k, q.dim); });
        const bool none = clampNegatives && value < 0;
        if (!none) to[j] += value;
        if constexpr (!std::is_void_v<Index>)
          argmax[j * rows + row] = none ? std::numeric_limits<Index>::max() : Index{0};
      }
    }
  }
}

// How many blocks there are; they are written to `blocks`.
template <class T>
int64_t blocksOf(const Tokens<T>& q, int64_t queries, int64_t minRows, T* packed, Block<T>* blocks) {
  int64_t count = 0;
  for (int64_t i = 0; i < queries;) {
    const int64_t first = i++, row = q.segments[first];
    while (i < queries && q.segments[i] - row < minRows) ++i;
    blocks[count++] = {first, i, row, q.segments[i], packed};
    packed += roundUp(q.segments[i] - row, kLanes<T>) * q.dim;
  }
  return count;
}

// What the workspace of maxsim holds, by byte: where each pair's winners start (but of all pairs), the blocks, and the
// packed queries.
template <class T>
struct Room {
  int64_t blocks, packed, end;

  Room(const OpCall& call, Layout layout) {
    const bool all = layout == Layout::all;
    const int64_t rows = call.in[0].rows(), pairs = call.out[0].count();
    // Blocks of all pairs have kBlockRows rows or more, but for the last.
    const int64_t most = all ? rows / kBlockRows + 1 : call.in[1].dims[0] - 1;
    blocks = partSize(all ? 0 : (pairs + 1) * static_cast<int64_t>(sizeof(int64_t)));
    packed = blocks + partSize(most * static_cast<int64_t>(sizeof(Block<T>)));
    end = packed + (rows + most * (kLanes<T> - 1)) * call.in[0].columns() * static_cast<int64_t>(sizeof(T));
  }
};

// How many documents from j on have one token, before `end`.
inline int64_t singlesFrom(const int64_t* segments, int64_t j, int64_t end) {
  int64_t count = 0;
  while (j + count < end && segments[j + count + 1] - segments[j + count] == 1) ++count;
  return count;
}

// q [Tq, dim], qSegments [nq + 1], d [Td, dim], dSegments [nd + 1], pairs [nq + 1] or [P, 2]; scores [nq, nd] of all
// pairs, else [P]; argmax of the pairs' rows, [nd, Tq] of all pairs. Index void: no argmax.
template <class T, class Index, class Documents>
void scoreDocuments(const OpCall& call, Layout layout, bool clampNegatives, const Documents& documents, Index* argmax) {
  const int64_t nq = call.in[1].dims[0] - 1, nd = call.in[3].dims[0] - 1;
  const Tokens<T> q{call.in[0].as<T>(), call.in[1].as<int64_t>(), call.in[0].dims[1]};
  const int64_t* segments = call.in[3].as<int64_t>();
  const PairList pairs = pairsOf(call, layout);
  T* scores = call.out[0].as<T>();
  const Room<T> room(call, layout);
  char* memory = static_cast<char*>(call.workspace);
  int64_t* starts = reinterpret_cast<int64_t*>(memory);
  Block<T>* blocks = reinterpret_cast<Block<T>*>(memory + room.blocks);
  const bool all = layout == Layout::all;
  const auto score = [&](const Block<T>& block, int64_t j, int64_t next, T* own, T* to, int64_t stride,
                         Index* winners) {
    const int64_t tokens = segments[j + 1] - segments[j];
    const auto document = documents.read(segments[j], tokens, q.dim, own, segments[next]);
    scoreBlock(q, block, document, tokens, clampNegatives, to, stride, winners);
  };
  if (!all) startsOf(pairs, q.segments, starts);
  const int64_t nblocks = blocksOf(q, nq, all ? kBlockRows : 0, reinterpret_cast<T*>(memory + room.packed), blocks);
  forTasks(nblocks, [&](int64_t b) { pack(q, blocks[b], Documents::kPack); });
  if (!all) {
    documents.tasks(pairs.count, [&](int64_t k, T* own) {
      Index* pair = nullptr;
      if constexpr (!std::is_void_v<Index>) pair = argmax + starts[k];
      const int64_t j = pairs.document(k), next = k + 1 < pairs.count ? pairs.document(k + 1) : j;
      score(blocks[pairs.query(k)], j, next, own, scores + k, 1, pair);
    });
    return;
  }
  if (nblocks == 0) return;
  // Tasks are a chunk of documents, cut by tokens, against a block of queries.
  const int64_t rows = q.segments[nq], tokens = segments[nd];
  const int64_t chunks =
      std::clamp<int64_t>(std::max<int64_t>(16, rows * tokens >> 19) / nblocks, 1, std::max<int64_t>(nd, 1));
  const auto cut = [&](int64_t c) {
    return c == chunks ? nd : std::lower_bound(segments, segments + nd, tokens * c / chunks) - segments;
  };
  documents.tasks(chunks * nblocks, [&](int64_t task, T* own) {
    const Block<T>& block = blocks[task % nblocks];
    const int64_t chunk = task / nblocks;
    for (int64_t j = cut(chunk), end = cut(chunk + 1), count = 1; j < end; j += count) {
      Index* pair = nullptr;
      if constexpr (!std::is_void_v<Index>) pair = argmax + j * rows + block.firstRow;
      T* const to = scores + block.firstQuery * nd + j;
      count = singlesFrom(segments, j, std::min(end, j + kTileRows));
      if (count > 1) {
        const auto singles = documents.read(segments[j], count, q.dim, own, segments[j + count]);
        scoreSingles(q, block, singles, count, clampNegatives, to, nd, pair, rows);
      } else {
        score(block, j, j + 1, own, to, nd, pair);
        count = 1;
      }
    }
  });
}

// The operands of maxsim, argmax in its type.
template <class T, class Index>
void maxsimAs(const OpCall& call, Index* argmax) {
  const auto& p = call.as<params::maxsim>();
  const InPlace<T> documents{call.in[2].as<T>()};
  scoreDocuments<T>(call, static_cast<Layout>(p.layout), p.clampNegatives != 0, documents, argmax);
}

template <class T, class From>
void maxsimStoredAs(const OpCall& call) {
  const auto& p = call.as<params::maxsimStored>();
  const Layout layout = static_cast<Layout>(p.layout);
  const int64_t room = partSize(Room<T>(call, layout).end);
  using Documents = std::conditional_t<std::is_same_v<T, float> && std::is_same_v<From, int8_t> && kWholeIsFast,
                                       StoredWhole, Stored<T, From>>;
  const Documents documents(
      {static_cast<char*>(call.workspace) + room, call.workspaceBytes - room, widenedBytes<T>(call)},
      call.in[2].as<From>(), call.in[5].present() ? call.in[5].as<T>() : nullptr);
  scoreDocuments<T, void>(call, layout, p.clampNegatives != 0, documents, nullptr);
}

}  // namespace

namespace kernels {

// q [Tq, dim], d [Td, dim]; segments, pairs, scores, argmax as maxsimAs.
template <class T>
int32_t maxsim(const OpCall& call, char*) {
  const View& argmax = call.out[1];
  if (!argmax.present())
    maxsimAs<T, void>(call, nullptr);
  else if (argmax.dtype == DType::u8)
    maxsimAs<T>(call, argmax.as<uint8_t>());
  else if (argmax.dtype == DType::u16)
    maxsimAs<T>(call, argmax.as<uint16_t>());
  else
    maxsimAs<T>(call, argmax.as<int32_t>());
  return 0;
}

// The same of documents as they are stored: d [Td, dim] float16, or int8 with scales [Td].
template <class T>
int32_t maxsimStored(const OpCall& call, char*) {
  if (call.in[2].dtype == DType::f16)
    maxsimStoredAs<T, Half>(call);
  else
    maxsimStoredAs<T, int8_t>(call);
  return 0;
}

// The same of documents as residual codes; what says what they stand for is in[5] and after.
template <class T>
int32_t maxsimResidual(const OpCall& call, char*) {
  const auto& p = call.as<params::maxsimResidual>();
  const Layout layout = static_cast<Layout>(p.layout);
  const int64_t room = partSize(Room<T>(call, layout).end), table = partSize(kByteLevels * sizeof(T));
  char* const memory = static_cast<char*>(call.workspace) + room;
  const Residual<T> documents({memory + table, call.workspaceBytes - room - table, widenedBytes<T>(call)}, call.in[2],
                              call.in + 5, reinterpret_cast<T*>(memory));
  scoreDocuments<T, void>(call, layout, p.clampNegatives != 0, documents, nullptr);
  return 0;
}

// codes [T, d / codes of a byte], what says what they stand for, y [T, d].
template <class T>
int32_t decodeResidual(const OpCall& call, char*) {
  const Residual<T> rows({}, call.in[0], call.in + 1, static_cast<T*>(call.workspace));
  const int64_t dim = call.out[0].columns();
  T* const y = call.out[0].as<T>();
  forBlocks(call.out[0].rows(), 256,
            [&](int64_t begin, int64_t end) { rows.read(begin, end - begin, dim, y + begin * dim, end); });
  return 0;
}

// The operands of maxsim; dscores as scores, dq as q, dd as d.
template <class T>
int32_t maxsimBackward(const OpCall& call, char*) {
  const View& argmax = call.in[5];
  if (argmax.dtype == DType::u8)
    backwardAs<T>(call, argmax.as<uint8_t>());
  else if (argmax.dtype == DType::u16)
    backwardAs<T>(call, argmax.as<uint16_t>());
  else
    backwardAs<T>(call, argmax.as<int32_t>());
  return 0;
}

LF_INSTANTIATE(maxsim);
LF_INSTANTIATE(maxsimStored);
LF_INSTANTIATE(maxsimResidual);
LF_INSTANTIATE(decodeResidual);
LF_INSTANTIATE(maxsimBackward);

}  // namespace kernels

namespace needs {

template <class T>
int64_t maxsim(const OpCall& call) {
  return Room<T>(call, static_cast<Layout>(call.as<params::maxsim>().layout)).end;
}

// The same, and a document of every thread.
template <class T>
int64_t maxsimStored(const OpCall& call) {
  const int64_t room = Room<T>(call, static_cast<Layout>(call.as<params::maxsimStored>().layout)).end;
  return partSize(room) + partsFor(std::numeric_limits<int64_t>::max(), widenedBytes<T>(call));
}

// The same, and the levels of all bytes.
template <class T>
int64_t maxsimResidual(const OpCall& call) {
  const int64_t room = Room<T>(call, static_cast<Layout>(call.as<params::maxsimResidual>().layout)).end;
  return partSize(room) + partSize(kByteLevels * sizeof(T)) +
         partsFor(std::numeric_limits<int64_t>::max(), widenedBytes<T>(call));
}

template <class T>
int64_t decodeResidual(const OpCall&) {
  return partSize(kByteLevels * sizeof(T));
}

// Of pairs: where each pair's winners start, and for either gradient the pairs ordered by owner.
template <class T>
int64_t maxsimBackward(const OpCall& call) {
  if (static_cast<Layout>(call.as<params::maxsimBackward>().layout) == Layout::all) return 0;
  const int64_t pairs = call.in[6].count();
  int64_t numbers = pairs + 1;
  for (int side = 0; side < 2; ++side)
    if (call.in[7 + side].present()) numbers += call.in[1 + 2 * side].dims[0] + 1 + pairs;
  return numbers * static_cast<int64_t>(sizeof(int64_t));
}

LF_INSTANTIATE_NEED(maxsim);
LF_INSTANTIATE_NEED(maxsimStored);
LF_INSTANTIATE_NEED(maxsimResidual);
LF_INSTANTIATE_NEED(decodeResidual);
LF_INSTANTIATE_NEED(maxsimBackward);

}  // namespace needs
}  // namespace lateforge::cpu::LF_ISA
