// What the ladders on a GPU measure with: device events, medians of warm calls and of calls after the L2 cache was
// overwritten, and what mma.sync reaches by itself.
#pragma once

#include <algorithm>
#include <vector>

#include "../../native/cuda/device/mma.cuh"
#include "../../test/native/cuda/device.h"

namespace lateforge::testing {

struct Median {
  double warm, flushed;  // milliseconds
};

class Clock {
 public:
  explicit Clock(int calls) : calls_(calls), waste_(kWaste) {
    cudaEventCreate(&start_);
    cudaEventCreate(&stop_);
  }
  Clock(const Clock&) = delete;
  Clock& operator=(const Clock&) = delete;

  template <class F>
  Median operator()(const F& call) {
    return {median(call, false), median(call, true)};
  }

 private:
  static constexpr size_t kWaste = size_t{256} << 20;

  template <class F>
  double median(const F& call, bool flush) {
    std::vector<float> times;
    for (int i = -5; i < calls_; ++i) {
      if (flush) cudaMemsetAsync(waste_.view(DType::u8, {1}).data, i & 255, kWaste, testStream());
      cudaEventRecord(start_, testStream());
      call();
      cudaEventRecord(stop_, testStream());
      cudaEventSynchronize(stop_);
      float time = 0;
      cudaEventElapsedTime(&time, start_, stop_);
      if (i >= 0) times.push_back(time);
    }
    std::nth_element(times.begin(), times.begin() + calls_ / 2, times.end());
    return times[static_cast<size_t>(calls_ / 2)];
  }

  int calls_;
  Buffer<char> waste_;
  cudaEvent_t start_, stop_;
};

// Multiplications on registers only, eight independent ones at a time.
template <class T>
struct Ceiling {
  static constexpr int kThreads = 256, kMinBlocks = 1, kRounds = 4096;
  cuda::Dev<float> sink;
  LF_DEVICE void operator()() const {
    cuda::FragmentA a{{1, 2, 3, 4}};
    cuda::FragmentB b{{5, 6}};
    cuda::FragmentC c[8] = {};
    for (int i = 0; i < kRounds; ++i)
#pragma unroll
      for (int k = 0; k < 8; ++k) cuda::mma<T>(c[k], a, b);
    float sum = 0;
#pragma unroll
    for (int k = 0; k < 8; ++k) sum += c[k].value[0];
    if (sum == 12345) sink[0] = sum;
  }
};

// TFLOP/s of mma.sync alone.
template <class T>
double ceilingOf(Clock& clock, int multiprocessors) {
  const int64_t blocks = 2 * multiprocessors;
  const Buffer<float> sink(size_t{1});
  const Median time = clock([&] { run({blocks}, 0, Ceiling<T>{sink.dev()}); });
  const double flops = 2.0 * 16 * 8 * 16 * 8 * Ceiling<T>::kRounds;  // of a warp
  return static_cast<double>(blocks) * (Ceiling<T>::kThreads / cuda::kWarp) * flops / time.warm * 1e-9;
}

}  // namespace lateforge::testing
