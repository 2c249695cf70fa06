// Sums over rows in two passes, in an order that follows from the shape alone: over 256 rows a block, then over those
// sums, which lie in the workspace between the two.
#pragma once

#include "device/shared.cuh"
#include "device/thread.cuh"
#include "launch.h"

namespace lateforge::cuda {

constexpr int64_t kPartialRows = 256;

// A block of the first pass: 32 columns of 256 rows. Neighbouring blocks share rows, and the last rows come first: they
// are what the kernel before has left in the cache.
struct PartialBlock {
  int64_t block, firstRow, endRow, column;  // the last is the lane's

  LF_DEVICE PartialBlock(int64_t rows, int64_t columns) {
    const int64_t groups = (columns + kWarp - 1) / kWarp, blocks = (rows + kPartialRows - 1) / kPartialRows;
    block = blocks - 1 - blockX() / groups;
    firstRow = block * kPartialRows;
    endRow = firstRow + kPartialRows < rows ? firstRow + kPartialRows : rows;
    column = blockX() % groups * kWarp + lane();
  }
};
// Bytes of the sums of the first pass.
inline int64_t partialBytes(int64_t rows, int64_t sums, int64_t columns) {
  return divideUp(rows, kPartialRows) * sums * columns * static_cast<int64_t>(sizeof(float));
}
inline Grid partialGrid(int64_t rows, int64_t columns) {
  return {divideUp(rows, kPartialRows) * divideUp(columns, kWarp)};
}

// partial [blocks, sums, count], total [count] of each sum: total[s][i] += Σ partial[b][s][i] over blocks b. Grid
// [count / 32, sums], a block per 32 numbers of one sum: warp w adds up blocks w, w + 8, …, then the warps are added in
// order.
template <int sums>
struct AddPartials {
  static constexpr int kThreads = 256, kMinBlocks = 4, kWarps = kThreads / kWarp;
  Dev<const float> partial;
  Dev<float> total[sums];  // null: not wanted
  int64_t blocks, count;

  static constexpr int64_t sharedBytes() { return sharedSize<float>(kThreads); }

  LF_DEVICE void operator()() const {
    SharedMemory shared;
    Shared<float> ofWarps = shared.take<float>(kThreads);
    const int64_t i = blockX() * kWarp + lane(), s = blockY();
    if (!total[s]) return;
    float sum = 0;
    if (i < count)
      for (int64_t b = warp(); b < blocks; b += kWarps) sum += partial[(b * sums + s) * count + i];
    ofWarps[thread()] = sum;
    syncThreads();
    if (warp() != 0 || i >= count) return;
    for (int w = 1; w < kWarps; ++w) sum += ofWarps[w * kWarp + lane()];
    total[s][i] += sum;
  }
};

template <int sums>
int32_t addPartials(Context& context, const AddPartials<sums>& kernel) {
  if (kernel.blocks == 0) return 0;
  return launch(context, {divideUp(kernel.count, kWarp), sums}, AddPartials<sums>::sharedBytes(), kernel);
}

}  // namespace lateforge::cuda
