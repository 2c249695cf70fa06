// Ops that move rows. embeddingBackward sorts the tokens by id; a run of equal ids is summed in token order by the task
// in whose stretch of the sorted list it starts, so every table row has one owner.
#include <algorithm>

#include "../../cpu/kernels.h"
#include "../../cpu/loops.h"

namespace lateforge::cpu::LF_ISA::kernels {

// x [any, d], index [rows], y [rows, d]: y[i] = x[index[i]].
template <class T>
static void gather(const T* x, const int32_t* index, T* y, int64_t rows, int64_t d) {
  forBlocks(rows, rowBlock(d), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) std::memcpy(y + r * d, x + index[r] * d, d * sizeof(T));
  });
}

// x [T, d], index int32 [n], y [n, d].
template <class T>
int32_t gatherRows(const OpCall& call, char*) {
  gather(call.in[0].as<T>(), call.in[1].as<int32_t>(), call.out[0].as<T>(), call.out[0].rows(), call.out[0].columns());
  return 0;
}

// dy [n, d], index int32 [n], dx [rows, d]: the rows that are named and zeros between them; the index rises strictly.
template <class T>
int32_t scatterRows(const OpCall& call, char*) {
  const int32_t* index = call.in[1].as<int32_t>();
  const int64_t d = call.out[0].columns(), named = call.in[1].count();
  T* dx = call.out[0].as<T>();
  forBlocks(call.out[0].rows(), rowBlock(d), [&](int64_t begin, int64_t end) {
    const int32_t* next = std::lower_bound(index, index + named, static_cast<int32_t>(begin));
    for (int64_t r = begin; r < end; ++r) {
      if (next < index + named && *next == r)
        std::memcpy(dx + r * d, call.in[0].as<T>() + (next++ - index) * d, d * sizeof(T));
      else
        std::memset(dx + r * d, 0, d * sizeof(T));
    }
  });
  return 0;
}

// x [n, m], y [m, n]. By squares: a column of x walks through as many cache lines as it has rows.
template <class T>
int32_t rowsToColumns(const OpCall& call, char*) {
  const T* x = call.in[0].as<T>();
  T* y = call.out[0].as<T>();
  const int64_t n = call.in[0].rows(), m = call.in[0].columns(), side = 32;
  forBlocks(m, side, [=](int64_t begin, int64_t end) {
    for (int64_t first = 0; first < n; first += side)
      for (int64_t j = begin; j < end; ++j)
        for (int64_t i = first; i < std::min(n, first + side); ++i) y[j * n + i] = x[i * m + j];
  });
  return 0;
}

// x, y [T, d], segments [n + 1]
template <class T>
int32_t divideRows(const OpCall& call, char*) {
  const int64_t* segments = call.in[1].as<int64_t>();
  const int64_t d = call.in[0].columns();
  forTasks(call.in[1].count() - 1, [&](int64_t s) {
    const T factor = T{1} / static_cast<T>(segments[s + 1] - segments[s]);
    const T* x = call.in[0].as<T>();
    T* y = call.out[0].as<T>();
    for (int64_t i = segments[s] * d; i < segments[s + 1] * d; ++i) y[i] = x[i] * factor;
  });
  return 0;
}

// x [T, d], segments [n + 1], y [n, d]: the first row of each sequence, or the mean of its rows; 0 when it is empty.
template <class T>
int32_t poolRows(const OpCall& call, char*) {
  const int64_t* segments = call.in[1].as<int64_t>();
  const bool mean = call.as<params::poolRows>().kind == 1;
  const int64_t d = call.out[0].columns();
  forTasks(call.out[0].rows(), [&](int64_t s) {
    const int64_t length = segments[s + 1] - segments[s], used = mean || length == 0 ? length : 1;
    const T* x = call.in[0].as<T>() + segments[s] * d;
    const T factor = used ? T{1} / static_cast<T>(used) : T{0};
    forLanes<T>(d, [&](int64_t i, auto n) {
      Vec<T> sum{};
      for (int64_t r = 0; r < used; ++r) sum += loadPart(x + r * d + i, n);
      storePart(call.out[0].as<T>() + s * d + i, sum * factor, n);
    });
  });
  return 0;
}

// dy [n, d], segments [n + 1], dx [T, d].
template <class T>
int32_t poolRowsBackward(const OpCall& call, char*) {
  const int64_t* segments = call.in[1].as<int64_t>();
  const bool mean = call.as<params::poolRowsBackward>().kind == 1;
  const int64_t d = call.out[0].columns();
  forTasks(call.in[0].rows(), [&](int64_t s) {
    const T* dy = call.in[0].as<T>() + s * d;
    const int64_t length = segments[s + 1] - segments[s];
    for (int64_t r = 0; r < length; ++r) {
      const T factor = mean ? T{1} / static_cast<T>(length) : static_cast<T>(r == 0);
      T* dx = call.out[0].as<T>() + (segments[s] + r) * d;
      forLanes<T>(d, [=](int64_t i, auto n) { storePart(dx + i, loadPart(dy + i, n) * factor, n); });
    }
  });
  return 0;
}

// table [V, d], ids int32 [T], y [T, d].
template <class T>
int32_t embedding(const OpCall& call, char*) {
  gather(call.in[0].as<T>(), call.in[1].as<int32_t>(), call.out[0].as<T>(), call.out[0].rows(), call.out[0].columns());
  return 0;
}

struct ByIdThenToken {
  bool operator()(uint64_t a, uint64_t b) const { return a < b; }
};

// dy [T, d], ids int32 [T], dTable [V, d], added to; workspace uint64 [T]: id and token, to be sorted.
template <class T>
int32_t embeddingBackward(const OpCall& call, char*) {
  const T* dy = call.in[0].as<T>();
  const int32_t* ids = call.in[1].as<int32_t>();
  T* dTable = call.in[2].as<T>();
  const int64_t tokens = call.in[0].rows(), d = call.in[0].columns();
  uint64_t* order = static_cast<uint64_t*>(call.workspace);
  for (int64_t i = 0; i < tokens; ++i) order[i] = static_cast<uint64_t>(ids[i]) << 32 | static_cast<uint64_t>(i);
  std::sort(order, order + tokens, ByIdThenToken());
  forBlocks(tokens, 64, [&](int64_t begin, int64_t end) {
    int64_t i = begin;
    while (i < end && i > 0 && order[i] >> 32 == order[i - 1] >> 32) ++i;  // a run of the task before
    if (i == end) return;
    for (; i < tokens && (i < end || order[i] >> 32 == order[i - 1] >> 32); ++i) {
      T* target = dTable + static_cast<int64_t>(order[i] >> 32) * d;
      const T* source = dy + static_cast<int64_t>(order[i] & 0xffffffffu) * d;
      forLanes<T>(
          d, [=](int64_t k, auto n) { storePart(target + k, loadPart(target + k, n) + loadPart(source + k, n), n); });
    }
  });
  return 0;
}

LF_INSTANTIATE(gatherRows);
LF_INSTANTIATE(scatterRows);
LF_INSTANTIATE(rowsToColumns);
LF_INSTANTIATE(divideRows);
LF_INSTANTIATE(poolRows);
LF_INSTANTIATE(poolRowsBackward);
LF_INSTANTIATE(embedding);
LF_INSTANTIATE(embeddingBackward);

}  // namespace lateforge::cpu::LF_ISA::kernels

namespace lateforge::cpu::LF_ISA::needs {

template <class T>
int64_t embeddingBackward(const OpCall& call) {
  return call.in[0].rows() * static_cast<int64_t>(sizeof(uint64_t));
}

LF_INSTANTIATE_NEED(embeddingBackward);

}  // namespace lateforge::cpu::LF_ISA::needs
