#include <algorithm>

#include "../peak.cuh"
#include "devices.h"
#include "peak.h"

namespace lateforge::cuda {
namespace {

constexpr int64_t kMemory = int64_t{1} << 30, kCache = int64_t{16} << 20;  // bytes read; an H100 has 50 MB of L2

struct Bench {
  cudaStream_t stream = nullptr;
  cudaEvent_t start = nullptr, stop = nullptr;
  char* buffer = nullptr;
  float* sink = nullptr;
  int multiprocessors = 0;
  double seconds = 0;
  char* error = nullptr;

  ~Bench() {
    if (stop) cudaEventDestroy(stop);
    if (start) cudaEventDestroy(start);
    if (buffer) cudaFree(buffer);
    if (sink) cudaFree(sink);
    if (stream) cudaStreamDestroy(stream);
  }
  bool fine(cudaError_t status) {
    if (status != cudaSuccess) std::snprintf(error, kErrorBytes, "peak: %s", cudaGetErrorString(status));
    return status == cudaSuccess;
  }
  // `work` a launch, by the best launch; 0 on failure.
  template <class Kernel>
  double rate(int64_t blocks, double work, const Kernel& kernel) {
    Context context{stream, 48 * 1024, nullptr, error};
    float best = 0;
    double spent = 0;
    for (int i = 0; i < 3 || (spent < seconds / 4 && i < 1000); ++i) {
      float milliseconds = 0;
      if (!fine(cudaEventRecord(start, stream)) || launch(context, {blocks}, 0, kernel) ||
          !fine(cudaEventRecord(stop, stream)) || !fine(cudaEventSynchronize(stop)) ||
          !fine(cudaEventElapsedTime(&milliseconds, start, stop)))
        return 0;
      if (i == 0 || milliseconds < best) best = milliseconds;
      spent += static_cast<double>(milliseconds) / 1000;
    }
    return best > 0 ? work / (static_cast<double>(best) / 1000) : 0;
  }
  double reading(int64_t bytes, int64_t rounds) {
    const int64_t blocks = 8 * multiprocessors, pieces = bytes / (ReadAll::kPiece * 16);
    const auto* packs = reinterpret_cast<const Pack<float, 4>*>(buffer);
    return rate(blocks, static_cast<double>(pieces * ReadAll::kPiece * 16 * rounds),
                ReadAll{packs, pieces, rounds, sink});
  }
};

}  // namespace

int32_t measurePeak(int32_t device, double seconds, Peak* result, char* error) {
  if (!usable(device, error)) return 1;
  Bench bench;
  bench.error = error;
  bench.seconds = seconds;
  error[0] = 0;
  if (!bench.fine(cudaSetDevice(device)) ||
      !bench.fine(cudaDeviceGetAttribute(&bench.multiprocessors, cudaDevAttrMultiProcessorCount, device)) ||
      !bench.fine(cudaStreamCreateWithFlags(&bench.stream, cudaStreamNonBlocking)) ||
      !bench.fine(cudaEventCreate(&bench.start)) || !bench.fine(cudaEventCreate(&bench.stop)) ||
      !bench.fine(cudaMalloc(&bench.buffer, kMemory)) ||
      !bench.fine(cudaMalloc(&bench.sink,
                             sizeof(float) * 8 * ReadAll::kThreads * static_cast<size_t>(bench.multiprocessors))) ||
      !bench.fine(cudaMemsetAsync(bench.buffer, 0, kMemory, bench.stream)))
    return 1;
  constexpr int64_t kRounds = 8192;
  const int64_t tiles = 2 * bench.multiprocessors, adds = 8 * bench.multiprocessors;
  using Tiles = MultiplyTiles<Bf16>;
  result->fp16 =
      bench.rate(tiles, Tiles::kOperations * kRounds * static_cast<double>(tiles), Tiles{bench.sink, kRounds});
  result->fp32 = bench.rate(adds, MultiplyAdd::kOperations * kRounds * static_cast<double>(adds),
                            MultiplyAdd{bench.sink, kRounds, 0.5f});
  result->memory = bench.reading(kMemory, 1);
  result->cache = bench.reading(kCache, 64);
  return error[0] ? 1 : 0;
}

}  // namespace lateforge::cuda
