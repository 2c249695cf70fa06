// What the ladders on a GPU share: device events, medians of warm calls and of calls after the L2 cache was
// overwritten, and what mma.sync reaches by itself.
#pragma once

#include <algorithm>
#include <vector>

#include "../../native/cuda/peak.cuh"
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

// TFLOP/s of mma.sync alone.
template <class T>
double ceilingOf(Clock& clock, int multiprocessors) {
  using Kernel = cuda::MultiplyTiles<T>;
  constexpr int64_t kRounds = 4096;
  const int64_t blocks = 2 * multiprocessors;
  const Buffer<float> sink(size_t{1});
  const Median time = clock([&] { run({blocks}, 0, Kernel{sink.dev(), kRounds}); });
  return static_cast<double>(blocks * kRounds) * Kernel::kOperations / time.warm * 1e-9;
}

// A ladder: a JSON line about the device, then those of `measure(clock, ceiling, shared memory of a block)`.
// Arguments: [calls per measurement].
template <class T, class F>
int ladder(int argc, char** argv, int calls, const F& measure) {
  if (const std::string reason = noDevice(); !reason.empty()) {
    std::printf("no CUDA device: %s\n", reason.c_str());
    return kSkipped;
  }
  cudaDeviceProp properties;
  cudaGetDeviceProperties(&properties, 0);
  Clock clock(argc > 1 ? std::atoi(argv[1]) : calls);
  const double ceiling = ceilingOf<T>(clock, properties.multiProcessorCount);
  std::printf("{\"device\":\"%s\",\"multiprocessors\":%d,\"mma_sync_tflops\":%.1f}\n", properties.name,
              properties.multiProcessorCount, ceiling);
  measure(clock, ceiling, static_cast<int64_t>(properties.sharedMemPerBlockOptin));
  return failures ? 1 : 0;
}

}  // namespace lateforge::testing
