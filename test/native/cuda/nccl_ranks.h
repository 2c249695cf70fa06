// Ranks that are threads, each with a CUDA device of its own: the group over NCCL, real or pretended (fake_nccl.cc).
#pragma once

#include <cuda_runtime_api.h>
#include <dlfcn.h>

#include <atomic>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "../../../native/cuda/runtime/nccl.h"
#include "../../../native/cuda/runtime/stream.h"
#include "../../../native/distributed/host_group.h"
#include "../thread_transport.h"
#include "fake_nccl.h"

namespace lateforge {

inline std::atomic<int> checks{0}, failures{0};

inline void check(bool condition, const std::string& what) {
  ++checks;
  if (condition) return;
  ++failures;
  std::printf("FAIL %s\n", what.c_str());
}

inline bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

// Null with the real NCCL.
inline const FakeNccl* pretended() {
  static const FakeNccl* found = [] {
    const char* folder = std::getenv("LATEFORGE_CUDA_LIB_PATH");
    void* library = folder ? dlopen((std::string(folder) + "/libnccl.so.2").c_str(), RTLD_NOW | RTLD_LOCAL) : nullptr;
    const auto entry = library ? reinterpret_cast<const FakeNccl* (*)()>(dlsym(library, "fakeNccl")) : nullptr;
    return entry ? entry() : nullptr;
  }();
  return found;
}

inline Backend makeBackend() {
  Backend backend{};
  backend.name = "cuda";
  backend.download = [](Stream* stream, void* target, const void* source, size_t bytes, Done done, void* context) {
    stream->download(target, source, bytes, done, context);
  };
  backend.hostCall = [](Stream* stream, HostCall call, void* context) { stream->hostCall(call, context); };
  backend.deviceTransport = &cuda::kNcclTransport;
  return backend;
}
inline const Backend backend = makeBackend();

struct Ops {
  cuda::CudaOp op[kOpCount] = {};
};

class Rank {
 public:
  Rank(int rank, int device, const Ops& ops) : group(transportOf(rank), rank, hub.ranks) {
    char error[kErrorBytes] = "";
    cudaSetDevice(device);
    stream = Stream::open(device, ops.op, error);
    if (!stream) {
      std::printf("no stream: %s\n", error);
      std::exit(1);
    }
  }
  ~Rank() {
    group.stop();
    delete stream;
    for (void* data : memory_) cudaFree(data);
  }

  template <class T>
  T* upload(const std::vector<T>& values) {
    void* data = nullptr;
    check(cudaMalloc(&data, values.size() * sizeof(T) + 16) == cudaSuccess, "memory");
    memory_.push_back(data);
    stream->upload(data, values.data(), values.size() * sizeof(T));
    return static_cast<T*>(data);
  }
  // Adds the stream's error to `error`.
  template <class T>
  std::vector<T> read(const T* data, int64_t count) {
    std::vector<T> values(static_cast<size_t>(count));
    struct Answer {
      std::mutex mutex;
      std::condition_variable changed;
      bool done = false;
      std::string error;
    } answer;
    stream->download(
        values.data(), data, values.size() * sizeof(T),
        [](void* context, const char* text) {
          auto* a = static_cast<Answer*>(context);
          std::lock_guard lock(a->mutex);
          a->done = true;
          if (text) a->error = text;
          a->changed.notify_one();
        },
        &answer);
    std::unique_lock lock(answer.mutex);
    answer.changed.wait(lock, [&] { return answer.done; });
    error += answer.error;
    return values;
  }
  uint64_t start(const CollectiveCall& call) { return group.start(&backend, stream, call); }
  void wait(uint64_t ticket) { group.wait(&backend, stream, ticket); }
  void collective(const CollectiveCall& call) { wait(start(call)); }
  template <class T>
  CollectiveCall reduction(Collective kind, T* data, int64_t count) {
    return {kind, sizeof(T) == 8 ? DType::f64 : DType::f32, data, data, count, nullptr, nullptr, 0};
  }
  std::string failure() {
    const auto found = group.failure();
    return found ? found->reason : "";
  }

  HostGroup group;
  Stream* stream;
  std::string error;

 private:
  std::vector<void*> memory_;
};

struct Setting {
  GroupSettings group{};
  bool oneDevice = false;  // all ranks on device 0
  Ops ops{};
};

// One thread a rank; returns once all are through, and checks that every rule of NCCL was kept.
inline void onRanks(int ranks, const std::function<void(Rank&, int)>& body, const Setting& setting = {}) {
  hub.reset();
  hub.ranks = ranks;
  std::vector<std::thread> threads;
  for (int r = 0; r < ranks; ++r)
    threads.emplace_back([&, r] {
      Rank rank(r, setting.oneDevice ? 0 : r, setting.ops);
      rank.group.configure(setting.group);
      body(rank, r);
    });
  for (std::thread& thread : threads) thread.join();
  if (!pretended()) return;
  check(*pretended()->violations() == 0, std::string("broken rules of NCCL:\n") + pretended()->violations());
  check(pretended()->alive() == 0, "a communicator is left");
  pretended()->reset();
}

}  // namespace lateforge
