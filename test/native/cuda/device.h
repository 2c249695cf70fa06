// What tests of device code need in both worlds: memory, launches, checks. The same programs run in the host emulation
// and, compiled by nvcc, on a GPU.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include "../../../native/cuda/launch.h"
#include "../check.h"
#include "../seed.h"
#ifndef __CUDACC__
#include "../../../native/cuda/host/memory.h"
#endif

namespace lateforge::testing {

inline std::mt19937& generator() {
  static std::mt19937 rng(testSeed());
  return rng;
}
inline int64_t number(int64_t least, int64_t most) {
  return std::uniform_int_distribution<int64_t>(least, most)(generator());
}

// `count` elements on the device, and their copies on the host.
template <class T>
class Buffer {
 public:
  explicit Buffer(size_t count) : count_(count) {
#ifdef __CUDACC__
    void* data = nullptr;
    if (cudaMalloc(&data, bytes() + 1) != cudaSuccess) std::abort();
    cudaMemset(data, 0xff, bytes());
    data_ = data;
#else
    data_ = cuda::host::allocateDevice(bytes() + 1);
#endif
  }
  explicit Buffer(const std::vector<T>& values) : Buffer(values.size()) {
#ifdef __CUDACC__
    cudaMemcpy(data_, values.data(), bytes(), cudaMemcpyHostToDevice);
#else
    cuda::host::writeDevice(data_, values.data(), bytes());
#endif
  }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() {
#ifdef __CUDACC__
    cudaFree(data_);
#else
    cuda::host::releaseDevice(data_);
#endif
  }

  template <class U = T>
  cuda::Dev<U> dev() const {
    View view;
    view.data = data_;
    view.dtype = sizeof(T) == 1 ? DType::u8 : sizeof(T) == 2 ? DType::u16 : sizeof(T) == 4 ? DType::i32 : DType::i64;
    view.rank = 1;
    view.dims[0] = static_cast<int64_t>(count_);
    return cuda::dev<U>(view);
  }
  View view(DType dtype, std::initializer_list<int64_t> dims) const {
    View view;
    view.data = data_;
    view.dtype = dtype;
    view.rank = 0;
    for (const int64_t d : dims) view.dims[view.rank++] = d;
    return view;
  }
  std::vector<T> values() const {
    std::vector<T> all(count_);
#ifdef __CUDACC__
    cudaMemcpy(all.data(), data_, bytes(), cudaMemcpyDeviceToHost);
#else
    cuda::host::readDevice(all.data(), data_, bytes());
#endif
    return all;
  }

 private:
  size_t bytes() const { return count_ * sizeof(T); }

  size_t count_;
  void* data_;
};

inline cuda::StreamHandle testStream() {
#ifdef __CUDACC__
  static cudaStream_t stream = [] {
    cudaStream_t s;
    if (cudaStreamCreate(&s) != cudaSuccess) std::abort();
    return s;
  }();
  return stream;
#else
  return reinterpret_cast<cuda::StreamHandle>(uintptr_t{1});
#endif
}

// Dynamic shared memory a block may take here.
inline int64_t sharedLimit() {
#ifdef __CUDACC__
  static const int64_t limit = [] {
    int bytes = 0;
    if (cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, 0) != cudaSuccess) std::abort();
    return bytes;
  }();
  return limit;
#else
  return cuda::host::sharedLimit();
#endif
}

// Runs to the end. "" or what went wrong.
template <class Kernel>
std::string attempt(cuda::Grid grid, int64_t sharedBytes, const Kernel& kernel) {
  char error[kErrorBytes] = "";
  cuda::Context context{testStream(), sharedLimit(), nullptr, error};
  if (cuda::launch(context, grid, sharedBytes, kernel)) return error;
#ifdef __CUDACC__
  if (const cudaError_t status = cudaStreamSynchronize(context.stream); status != cudaSuccess)
    return cudaGetErrorString(status);
#endif
  return "";
}
template <class Kernel>
void run(cuda::Grid grid, int64_t sharedBytes, const Kernel& kernel) {
  const std::string error = attempt(grid, sharedBytes, kernel);
  CHECK(error.empty(), "%s", error.c_str());
}

// In the host emulation: body() under the natural order and under drawn ones, fewer where every access is slow. On a
// GPU once.
template <class Body>
void underOrders(const Body& body) {
#ifdef __CUDACC__
  body();
#else
#ifdef __SANITIZE_ADDRESS__
  constexpr uint64_t kDrawn = 2;
#else
  constexpr uint64_t kDrawn = 8;
#endif
  for (uint64_t seed = 0; seed <= kDrawn; ++seed) {
    cuda::host::setSeed(seed);
    body();
  }
#endif
}

// Why nothing can run here, or "".
inline std::string noDevice() {
#ifdef __CUDACC__
  int devices = 0;
  const cudaError_t status = cudaGetDeviceCount(&devices);
  if (status != cudaSuccess) return cudaGetErrorString(status);
  if (devices == 0) return "the driver lists none";
#endif
  return "";
}

// What a program has to run: by name, so that a slow tool can take a part of it.
struct Suite {
  const char* name;
  void (*run)();
};

// The exit code that ctest takes for skipped (SKIP_RETURN_CODE).
constexpr int kSkipped = 77;

// Runs the suites that the command line names, or all of them. Without a device: says so, exits with kSkipped.
inline int runSuites(const char* program, int argc, char** argv, const std::vector<Suite>& suites) {
  if (const std::string reason = noDevice(); !reason.empty()) {
    std::printf("no CUDA device: %s\n", reason.c_str());
    return kSkipped;
  }
  for (int i = 1; i < argc; ++i)
    CHECK(std::any_of(suites.begin(), suites.end(), [&](const Suite& s) { return argv[i] == std::string(s.name); }),
          "%s has no suite %s", program, argv[i]);
  for (const Suite& suite : suites) {
    if (argc > 1 && std::none_of(argv + 1, argv + argc, [&](const char* a) { return a == std::string(suite.name); }))
      continue;
    const auto started = std::chrono::steady_clock::now();
    suite.run();
    std::printf("%s %s: %.2f s\n", program, suite.name,
                std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count());
  }
  return finish(program);
}

}  // namespace lateforge::testing
