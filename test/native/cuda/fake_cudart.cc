#include "fake_cudart.h"

#include <cuda_runtime_api.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <random>
#include <thread>

namespace {

std::atomic<int> broken{0};  // a cudaError_t that stays
thread_local cudaError_t last = cudaSuccess;
thread_local bool mayNotWait = false;
thread_local int current = 0;
// What was allocated, by address.
std::mutex blocksMutex;
std::map<uintptr_t, size_t>& blocks() {
  static auto* all = new std::map<uintptr_t, size_t>;
  return *all;
}
std::atomic<int64_t> forbiddenWaits{0}, alive{0};

cudaError_t result(cudaError_t own = cudaSuccess) {
  if (const int error = broken.load()) own = static_cast<cudaError_t>(error);
  if (own != cudaSuccess) last = own;
  return own;
}

void waits() {
  if (mayNotWait) ++forbiddenWaits;
}

}  // namespace

struct CUevent_st {
  std::mutex mutex;
  std::condition_variable changed;
  int64_t wanted = 0, passed = 0;
  std::chrono::steady_clock::time_point time;
};

struct CUstream_st {
  const int device = current;
  std::mutex mutex;
  std::condition_variable changed;
  std::deque<std::function<void()>> work;
  bool stop = false, busy = false;
  std::mt19937 random{1};
  std::thread thread{[this] {
    std::unique_lock lock(mutex);
    for (;;) {
      changed.wait(lock, [&] { return stop || !work.empty(); });
      if (work.empty()) return;
      auto next = std::move(work.front());
      work.pop_front();
      busy = true;
      const int pause = static_cast<int>(random() % 300);
      lock.unlock();
      if (pause < 100) std::this_thread::sleep_for(std::chrono::microseconds(pause));
      if (broken.load() == 0) next();
      lock.lock();
      busy = false;
      changed.notify_all();
    }
  }};
  void push(std::function<void()> item) {
    std::lock_guard lock(mutex);
    work.push_back(std::move(item));
    changed.notify_all();
  }
  void drain() {
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return work.empty() && !busy; });
  }
};

namespace fake {

void launch(lateforge::cuda::StreamHandle stream, std::function<void()> work) { stream->push(std::move(work)); }
void breakDevice() { broken = cudaErrorIllegalAddress; }
void repairDevice() {
  broken = 0;
  last = cudaSuccess;
}
void forbidWaiting(bool forbidden) { mayNotWait = forbidden; }
int64_t waitsThatWereForbidden() { return forbiddenWaits; }
int64_t live() { return alive; }
int deviceOf(lateforge::cuda::StreamHandle stream) { return stream->device; }
bool owns(const void* data, size_t bytes) {
  const auto address = reinterpret_cast<uintptr_t>(data);
  std::lock_guard lock(blocksMutex);
  auto block = blocks().upper_bound(address);
  return block != blocks().begin() && (--block)->first + block->second >= address + bytes;
}

}  // namespace fake

extern "C" {

cudaError_t cudaSetDevice(int device) {
  current = device;
  return result();
}
cudaError_t cudaGetDevice(int* device) {
  *device = current;
  return result();
}
cudaError_t cudaGetDeviceCount(int* count) {
  *count = 8;
  return result();
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  *properties = {};
  properties->uuid.bytes[0] = static_cast<char>(0xf0 + device);
  return result();
}
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr, int) {
  *value = 227 * 1024;
  return result();
}
cudaError_t cudaMalloc(void** data, size_t bytes) {
  *data = std::malloc(bytes);
  ++alive;
  std::lock_guard lock(blocksMutex);
  blocks()[reinterpret_cast<uintptr_t>(*data)] = bytes;
  return result();
}
cudaError_t cudaFree(void* data) {
  {
    std::lock_guard lock(blocksMutex);
    blocks().erase(reinterpret_cast<uintptr_t>(data));
  }
  std::free(data);
  if (data) --alive;
  return result();
}
cudaError_t cudaMallocHost(void** data, size_t bytes) { return cudaMalloc(data, bytes); }
cudaError_t cudaHostAlloc(void** data, size_t bytes, unsigned) { return cudaMalloc(data, bytes); }
cudaError_t cudaFreeHost(void* data) { return cudaFree(data); }
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  *stream = new CUstream_st;
  ++alive;
  return result();
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  {
    std::lock_guard lock(stream->mutex);
    stream->stop = true;
    stream->changed.notify_all();
  }
  stream->thread.join();
  delete stream;
  --alive;
  return result();
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  waits();
  stream->drain();
  return result();
}
cudaError_t cudaStreamQuery(cudaStream_t stream) {
  std::lock_guard lock(stream->mutex);
  return result(stream->work.empty() && !stream->busy ? cudaSuccess : cudaErrorNotReady);
}
cudaError_t cudaMemcpyAsync(void* target, const void* source, size_t bytes, cudaMemcpyKind, cudaStream_t stream) {
  stream->push([=] { std::memcpy(target, source, bytes); });
  return result();
}
cudaError_t cudaMemsetAsync(void* target, int value, size_t bytes, cudaStream_t stream) {
  stream->push([=] { std::memset(target, value, bytes); });
  return result();
}
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  *event = new CUevent_st;
  ++alive;
  return result();
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  --alive;
  return result();
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  int64_t ticket;
  {
    std::lock_guard lock(event->mutex);
    ticket = ++event->wanted;
  }
  stream->push([=] {
    std::lock_guard lock(event->mutex);
    event->passed = ticket;
    event->time = std::chrono::steady_clock::now();
    event->changed.notify_all();
  });
  return result();
}
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t from, cudaEvent_t to) {
  *milliseconds = std::chrono::duration<float, std::milli>(to->time - from->time).count();
  return result();
}
cudaError_t cudaEventQuery(cudaEvent_t event) {
  std::lock_guard lock(event->mutex);
  return result(event->passed == event->wanted ? cudaSuccess : cudaErrorNotReady);
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  waits();
  std::unique_lock lock(event->mutex);
  while (event->passed != event->wanted && broken.load() == 0)
    event->changed.wait_for(lock, std::chrono::milliseconds(1));
  return result();
}
cudaError_t cudaGetLastError() {
  const cudaError_t error = last;
  last = broken.load() ? static_cast<cudaError_t>(broken.load()) : cudaSuccess;
  return error;
}
const char* cudaGetErrorString(cudaError_t error) {
  return error == cudaErrorIllegalAddress ? "an illegal memory access was encountered" : "something else";
}
const char* cudaGetErrorName(cudaError_t error) {
  return error == cudaErrorIllegalAddress ? "cudaErrorIllegalAddress" : "cudaErrorUnknown";
}

}  // extern "C"
