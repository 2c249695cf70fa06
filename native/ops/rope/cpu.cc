// Rotary position embedding (Su et al., "RoFormer", 2021), NeoX pairing: in every head of q and k, dimension j turns
// with j + headDim / 2 by the angle of the token's position in its sequence. In place on rows [3][heads][headDim];
// v stays. The inverse turns by −angle, which is the gradient.
#include "../../cpu/kernels.h"
#include "../../cpu/loops.h"

namespace lateforge::cpu::LF_ISA::kernels {

// x [T, 3 · heads · h] in place, segments [n + 1], table [positions, h]: h / 2 cosines, then as many sines.
template <class T>
int32_t rope(const OpCall& call, char*) {
  const auto& p = call.as<params::rope>();
  const int64_t* segments = call.in[1].as<int64_t>();
  const int64_t sequences = call.in[1].count() - 1, width = call.in[0].columns();
  const int64_t headDim = width / (3 * p.heads), half = headDim / 2;
  const T sign = p.inverse ? T{-1} : T{1};
  // The sequence of a row: rows come in order, so each task looks its first one up and walks on.
  forBlocks(call.in[0].rows(), rowBlock(width), [&](int64_t begin, int64_t end) {
    int64_t s = 0;
    for (int64_t above = sequences; above - s > 1;) {
      const int64_t middle = (s + above) / 2;
      (segments[middle] <= begin ? s : above) = middle;
    }
    for (int64_t r = begin; r < end; ++r) {
      while (segments[s + 1] <= r) ++s;
      const T *cosine = call.in[2].as<T>() + (r - segments[s]) * headDim, *sine = cosine + half;
      T* row = call.in[0].as<T>() + r * width;
      for (int64_t head = 0; head < 2 * p.heads; ++head) {
        T *a = row + head * headDim, *b = a + half;
        forLanes<T>(half, [=](int64_t i, auto n) {
          const Vec<T> x = loadPart(a + i, n), y = loadPart(b + i, n), c = loadPart(cosine + i, n);
          const Vec<T> turn = loadPart(sine + i, n) * sign;
          storePart(a + i, x * c - y * turn, n);
          storePart(b + i, y * c + x * turn, n);
        });
      }
    }
  });
  return 0;
}

LF_INSTANTIATE(rope);

}  // namespace lateforge::cpu::LF_ISA::kernels
