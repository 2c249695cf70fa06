// linear: y = x wᵀ (+ b), w [out, in]. Backward: dx = dy w, dw += dyᵀ x, db += column sums of dy. linearInt8: the same
// forward of weights that packInt8 made int8.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdio>

#include "../../cpu/gemm.h"
#include "../../cpu/kernels.h"
#include "../../cpu/loops.h"
#include "int8.h"

namespace lateforge::cpu::LF_ISA::kernels {

// x [T, in], w [out, in], b [out] or absent, y [T, out].
template <class T>
int32_t linear(const OpCall& call, char*) {
  const int64_t rows = call.in[0].rows(), in = call.in[0].columns(), out = call.in[1].rows();
  const T* bias = call.in[2].present() ? call.in[2].as<T>() : nullptr;
  gemm<T>({Form::NT, rows, out, in, call.in[0].as<T>(), in, call.in[1].as<T>(), in, call.out[0].as<T>(), out, false,
           bias, factors()},
          call.workspace, call.workspaceBytes);
  return 0;
}

// x [T, in], w [out, in], dy [T, out]; dw [out, in] and db [out] are added to; dx [T, in]. The last three may be
// absent.
template <class T>
int32_t linearBackward(const OpCall& call, char*) {
  const int64_t rows = call.in[0].rows(), in = call.in[0].columns(), out = call.in[1].rows();
  const T *x = call.in[0].as<T>(), *w = call.in[1].as<T>(), *dy = call.in[2].as<T>();
  const Factors used = factors();  // by all of its products alike
  const auto product = [&](Gemm<T> g) {
    g.factors = used;
    gemm<T>(g, call.workspace, call.workspaceBytes);
  };
  if (call.out[0].present()) product({Form::NN, rows, in, out, dy, out, w, in, call.out[0].as<T>(), in});
  if (call.in[3].present()) product({Form::TN, out, in, rows, dy, out, x, in, call.in[3].as<T>(), in, true});
  if (call.in[4].present()) {
    // Sums of 256 rows, added in order: shorter chains round less.
    T* db = call.in[4].as<T>();
    constexpr int vectors = 4;  // side by side, so that whole cache lines are read
    forBlocks(out, vectors * kLanes<T>, [&](int64_t begin, int64_t end) {
      const auto count = [&](int v) { return std::clamp<int64_t>(end - begin - v * kLanes<T>, 0, kLanes<T>); };
      Vec<T> total[vectors] = {};
      for (int64_t first = 0; first < rows; first += 256) {
        Vec<T> sum[vectors] = {};
        for (int64_t r = first; r < first + 256 && r < rows; ++r)
          for (int v = 0; v < vectors; ++v) sum[v] += loadPart(dy + r * out + begin + v * kLanes<T>, count(v));
        for (int v = 0; v < vectors; ++v) total[v] += sum[v];
      }
      for (int v = 0; v < vectors; ++v) {
        T* to = db + begin + v * kLanes<T>;
        storePart(to, loadPart(to, count(v)) + total[v], count(v));
      }
    });
  }
  return 0;
}

// w [out, in]; packed as int8.h has it, scales [out]: w ≈ n · scale, scale = the row's largest / 127.
template <class T>
int32_t packInt8(const OpCall& call, char* error) {
  const int64_t out = call.in[0].rows(), in = call.in[0].columns(), words = divideUp(in, kWord);
  const T* w = call.in[0].as<T>();
  int8_t* packed = call.out[0].as<int8_t>();
  T* scales = call.out[1].as<T>();
  std::atomic<bool> finite{true};
  std::memset(packed, 0, static_cast<size_t>(call.out[0].bytes()));
  forTasks(out, [&](int64_t row) {
    const T* from = w + row * in;
    T largest = 0, odd = 0;
    for (int64_t k = 0; k < in; ++k) largest = std::max(largest, std::abs(from[k])), odd += from[k] - from[k];
    if (odd != 0) finite = false;
    // Numbers so small that 127 over them is none are 0.
    const T by = largest > 0 && std::isfinite(T{127} / largest) ? T{127} / largest : T{0};
    scales[row] = by > 0 ? largest / T{127} : T{0};
    int8_t* to = packed + row / kPanel * words * kPanelWord + row % kPanel * kWord;
    for (int64_t k = 0; k < in; ++k)
      to[k / kWord * kPanelWord + k % kWord] =
          static_cast<int8_t>(std::clamp<T>(std::nearbyint(from[k] * by), T{-127}, T{127}));
  });
  if (finite) return 0;
  return std::snprintf(error, kErrorBytes, "ERR_DATA: the weights are not finite, which int8 cannot hold"), 1;
}

// x [T, in], packed and scales of w [out, in], b [out] or absent, y [T, out].
template <class T>
int32_t linearInt8(const OpCall& call, char*) {
  const int64_t rows = call.in[0].rows(), out = call.in[2].count(), panels = divideUp(out, kPanel);
  const T *x = call.in[0].as<T>(), *b = call.in[3].present() ? call.in[3].as<T>() : nullptr;
  if (rows == 0 || out == 0) return 0;
  Int8Tiles<T> tiles(rows, call.in[0].columns(), call.workspace);
  const int8_t* packed = call.in[1].as<int8_t>();
  T* totals = reinterpret_cast<T*>(static_cast<char*>(call.workspace) + tiles.bytes());
  forTasks(panels, [&](int64_t panel) {
    for (int64_t group = 0; group < tiles.groups; ++group) {
      const int64_t first = group * kGroupWords;
      columnSums(std::min(kGroupWords, tiles.words - first), packed + (panel * tiles.words + first) * kPanelWord,
                 totals + (group * panels + panel) * kPanel);
    }
  });
  forTasks(tiles.tiles(), [&](int64_t i) { tiles.fillTile(x, i); });
  // Blocks of rows that stay in the second-level cache, and of panels too where rows alone would leave threads without
  // work.
  const int64_t wanted = 12 * Team::instance().threads();
  const int64_t size = std::clamp<int64_t>(tiles.tiles() / wanted, 1, 16), blocks = divideUp(tiles.tiles(), size);
  const int64_t cuts = std::clamp<int64_t>(wanted / 2 / blocks, 1, panels);
  forTasks(blocks * cuts, [&](int64_t task) {
    const int64_t first = task / cuts * size, cut = task % cuts;
    int8Block(tiles, packed, totals, call.in[2].as<T>(), b, call.out[0].as<T>(), out, first,
              std::min(first + size, tiles.tiles()), panels * cut / cuts, panels * (cut + 1) / cuts);
  });
  return 0;
}

LF_INSTANTIATE(linear);
LF_INSTANTIATE(linearBackward);
LF_INSTANTIATE(packInt8);
LF_INSTANTIATE(linearInt8);

}  // namespace lateforge::cpu::LF_ISA::kernels

namespace lateforge::cpu::LF_ISA::needs {

template <class T>
int64_t linear(const OpCall& call) {
  return gemmWorkspace<T>(Form::NT, call.in[0].rows(), call.in[1].rows(), call.in[0].columns());
}

template <class T>
int64_t linearBackward(const OpCall& call) {
  const int64_t rows = call.in[0].rows(), in = call.in[0].columns(), out = call.in[1].rows();
  return std::max(call.out[0].present() ? gemmWorkspace<T>(Form::NN, rows, in, out) : 0,
                  call.in[3].present() ? gemmWorkspace<T>(Form::TN, out, in, rows) : 0);
}

template <class T>
int64_t linearInt8(const OpCall& call) {
  const Int8Tiles<T> tiles(call.in[0].rows(), call.in[0].columns(), nullptr);
  return tiles.bytes() + tiles.groups * divideUp(call.in[2].count(), kPanel) * kPanel * static_cast<int64_t>(sizeof(T));
}

LF_INSTANTIATE_NEED(linear);
LF_INSTANTIATE_NEED(linearBackward);
LF_INSTANTIATE_NEED(linearInt8);

}  // namespace lateforge::cpu::LF_ISA::needs
