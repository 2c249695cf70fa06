// The backward of MaxSim on the CPU: what winners give to the tokens that won, and get from them. Whoever owns a row of
// a gradient adds to it in the order of the definition, so that no result depends on who runs what.
#pragma once

#include <algorithm>
#include <type_traits>

#include "../../cpu/loops.h"
#include "operands.h"

namespace lateforge::cpu::LF_ISA {

// Of all pairs, what a task of the backward owns at most. Rows of 128 numbers: half a MiB; documents of 180: 0.7 MiB.
constexpr int64_t kOwnedRows = 1024, kOwnedDocuments = 8;

// x, y [dim]: y += g · x
template <class T>
void axpy(T g, const T* __restrict__ x, T* __restrict__ y, int64_t dim) {
  if (dim == 128)  // the usual dimension, unrolled
#pragma GCC unroll 64
    for (int64_t k = 0; k < 128; ++k) y[k] += g * x[k];
  else
    for (int64_t k = 0; k < dim; ++k) y[k] += g * x[k];
}

// Whether a document of so many tokens has this winner: what lies beyond it stands for none, and is never followed.
template <class Index>
bool won(Index winner, int64_t tokens) {
  return static_cast<std::make_unsigned_t<Index>>(winner) < static_cast<uint64_t>(tokens);
}

// dq [rows, dim], of rows [from, to): what their winners in document j give. argmax[row] belongs to row.
template <class T, class Index>
void gatherByArgmax(T g, const Index* argmax, const Tokens<T>& d, int64_t j, T* dq, int64_t from, int64_t to) {
  if (g == 0) return;
  const T* document = d.row(d.segments[j]);
  const int64_t tokens = d.segments[j + 1] - d.segments[j];
  for (int64_t row = from; row < to; ++row)
    if (won(argmax[row], tokens)) axpy(g, document + argmax[row] * d.dim, dq + row * d.dim, d.dim);
}

// dd [Td, dim], of document j: what rows [from, to) of q [rows, dim] give to their winners in it.
template <class T, class Index>
void scatterByArgmax(T g, const Index* argmax, const T* q, const Tokens<T>& d, int64_t j, T* dd, int64_t from,
                     int64_t to) {
  if (g == 0) return;
  T* document = dd + d.segments[j] * d.dim;
  const int64_t tokens = d.segments[j + 1] - d.segments[j];
  for (int64_t row = from; row < to; ++row)
    if (won(argmax[row], tokens)) axpy(g, q + row * d.dim, document + argmax[row] * d.dim, d.dim);
}

// Pairs ordered by owner (query or document), each owner's in the order of the list.
template <class Owner>
struct Owned {
  int64_t* offsets;
  int64_t* order;

  Owned(int64_t*& workspace, int64_t owners, int64_t count, const Owner& owner)
      : offsets(workspace), order(workspace + owners + 2) {
    workspace = order + count;
    std::fill(offsets, order, 0);
    for (int64_t k = 0; k < count; ++k) ++offsets[owner(k) + 2];
    for (int64_t i = 2; i < owners + 2; ++i) offsets[i] += offsets[i - 1];
    for (int64_t k = 0; k < count; ++k) order[offsets[owner(k) + 1]++] = k;
  }
};

// dscores [P], argmax pair by pair; dq [Tq, dim], dd [Td, dim], added to, null where nobody wants them.
template <class T, class Index>
void backwardOfPairs(const OpCall& call, const Tokens<T>& q, const Tokens<T>& d, const PairList& pairs,
                     const Index* argmax, const T* dscores, T* dq, T* dd) {
  const int64_t nq = pairs.queries, nd = call.in[3].dims[0] - 1;
  int64_t* starts = static_cast<int64_t*>(call.workspace);
  startsOf(pairs, q.segments, starts);
  int64_t* free = starts + pairs.count + 1;
  if (dq) {
    const Owned byQuery(free, nq, pairs.count, [&](int64_t k) { return pairs.query(k); });
    forTasks(nq, [&](int64_t i) {
      for (int64_t n = byQuery.offsets[i]; n < byQuery.offsets[i + 1]; ++n) {
        const int64_t k = byQuery.order[n];
        gatherByArgmax(dscores[k], argmax + starts[k], d, pairs.document(k), dq + q.segments[i] * q.dim, 0,
                       q.segments[i + 1] - q.segments[i]);
      }
    });
  }
  if (dd) {
    const Owned byDocument(free, nd, pairs.count, [&](int64_t k) { return pairs.document(k); });
    forTasks(nd, [&](int64_t j) {
      for (int64_t n = byDocument.offsets[j]; n < byDocument.offsets[j + 1]; ++n) {
        const int64_t k = byDocument.order[n], i = pairs.query(k);
        scatterByArgmax(dscores[k], argmax + starts[k], q.row(q.segments[i]), d, j, dd, 0,
                        q.segments[i + 1] - q.segments[i]);
      }
    });
  }
}

// The same for all pairs: dscores [nq, nd], argmax [nd, Tq].
template <class T, class Index>
void backwardOfAll(const Tokens<T>& q, int64_t nq, const Tokens<T>& d, int64_t nd, const Index* argmax,
                   const T* dscores, T* dq, T* dd) {
  const int64_t rows = q.segments[nq];
  // Owners of dq are blocks of rows, owners of dd are runs of documents: wide enough to use what they stream past well
  // while it is in a cache, many enough to share. A row is summed in the order of documents or queries all the same.
  const int64_t width = std::clamp<int64_t>(rows / 32, 16, kOwnedRows);
  const int64_t run = std::clamp<int64_t>(nd / 32, 1, kOwnedDocuments);
  if (dq)
    forTasks((rows + width - 1) / width, [&](int64_t block) {
      const int64_t first = block * width, last = std::min(rows, first + width);
      const int64_t query = std::upper_bound(q.segments, q.segments + nq + 1, first) - q.segments - 1;
      for (int64_t j = 0; j < nd; ++j)
        for (int64_t i = query; i < nq && q.segments[i] < last; ++i)
          gatherByArgmax(dscores[i * nd + j], argmax + j * rows, d, j, dq, std::max(first, q.segments[i]),
                         std::min(last, q.segments[i + 1]));
    });
  if (dd)
    forTasks((nd + run - 1) / run, [&](int64_t task) {
      const int64_t first = task * run, last = std::min(nd, first + run);
      for (int64_t i = 0; i < nq; ++i)
        for (int64_t j = first; j < last; ++j)
          scatterByArgmax(dscores[i * nd + j], argmax + j * rows, q.data, d, j, dd, q.segments[i], q.segments[i + 1]);
    });
}

// The operands of maxsimBackward, argmax in its type.
template <class T, class Index>
void backwardAs(const OpCall& call, const Index* argmax) {
  const Tokens<T> q{call.in[0].as<T>(), call.in[1].as<int64_t>(), call.in[0].dims[1]};
  const Tokens<T> d{call.in[2].as<T>(), call.in[3].as<int64_t>(), call.in[2].dims[1]};
  const PairList pairs = pairsOf(call, static_cast<Layout>(call.as<params::maxsimBackward>().layout));
  const T* dscores = call.in[6].as<T>();
  T* dq = call.in[7].present() ? call.in[7].as<T>() : nullptr;
  T* dd = call.in[8].present() ? call.in[8].as<T>() : nullptr;
  if (pairs.layout == Layout::all)
    backwardOfAll(q, pairs.queries, d, call.in[3].dims[0] - 1, argmax, dscores, dq, dd);
  else
    backwardOfPairs(call, q, d, pairs, argmax, dscores, dq, dd);
}

}  // namespace lateforge::cpu::LF_ISA
