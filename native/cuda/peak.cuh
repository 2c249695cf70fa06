// What a device can do at most: kernels that multiply registers, and that read memory, and do nothing else.
#pragma once

#include "device/math.cuh"
#include "device/mma.cuh"
#include "launch.h"

namespace lateforge::cuda {

// mma.sync on registers, eight independent chains a warp. sink [1] is never written; any number of blocks.
template <class T>
struct MultiplyTiles {
  static constexpr int kThreads = 256, kMinBlocks = 1, kChains = 8;
  static constexpr double kOperations = 2.0 * 16 * 8 * 16 * kChains * (kThreads / kWarp);  // of a block and round
  Dev<float> sink;
  int64_t rounds;
  LF_DEVICE void operator()() const {
    // Numbers of ordinary size and any sign: on zeros, tensor cores draw less power and run faster than on real work.
    const auto some = [](int k) {
      return 0x3f803f80u ^ ((static_cast<uint32_t>(thread() * 6 + k) * 2654435761u) & 0x807f807fu);
    };
    const FragmentA a{{some(0), some(1), some(2), some(3)}};
    const FragmentB b{{some(4), some(5)}};
    FragmentC c[kChains] = {};
    for (int64_t i = 0; i < rounds; ++i)
#pragma unroll
      for (int k = 0; k < kChains; ++k) mma<T>(c[k], a, b);
    float sum = 0;
#pragma unroll
    for (int k = 0; k < kChains; ++k) sum += c[k].value[0];
    if (sum == 12345) sink[0] = sum;
  }
};

// Multiply-adds on registers, sixteen independent chains a lane. sink [1] is never written; any number of blocks.
struct MultiplyAdd {
  static constexpr int kThreads = 256, kMinBlocks = 4, kChains = 16;
  static constexpr double kOperations = 2.0 * kChains * kThreads;
  Dev<float> sink;
  int64_t rounds;
  float by;
  LF_DEVICE void operator()() const {
    float c[kChains];
#pragma unroll
    for (int k = 0; k < kChains; ++k) c[k] = static_cast<float>(thread() + k);
    for (int64_t i = 0; i < rounds; ++i)
#pragma unroll
      for (int k = 0; k < kChains; ++k) c[k] = fusedMultiplyAdd(c[k], by, by);
    float sum = 0;
#pragma unroll
    for (int k = 0; k < kChains; ++k) sum += c[k];
    if (sum == 12345) sink[0] = sum;
  }
};

// Reads all of x [pieces · 1024] packs, `rounds` times, by any number of blocks; sink [blocks, 256]; in each round a
// block has another part, so that its own L1 never helps.
struct ReadAll {
  static constexpr int kThreads = 256, kMinBlocks = 4, kAhead = 4, kPiece = kThreads * kAhead;
  Dev<const Pack<float, 4>> x;
  int64_t pieces;  // of kPiece packs
  int64_t rounds;
  Dev<float> sink;  // one of each thread: the sum of what it read
  LF_DEVICE void operator()() const {
    float sum = 0;
    for (int64_t round = 0; round < rounds; ++round)
      for (int64_t piece = (blockX() + round) % gridX(); piece < pieces; piece += gridX()) {
        Pack<float, 4> v[kAhead];
#pragma unroll
        for (int k = 0; k < kAhead; ++k) v[k] = x[piece * kPiece + k * kThreads + thread()];
#pragma unroll
        for (int k = 0; k < kAhead; ++k) sum += v[k][0] + v[k][1] + v[k][2] + v[k][3];
      }
    sink[blockX() * kThreads + thread()] = sum;
  }
};

}  // namespace lateforge::cuda
