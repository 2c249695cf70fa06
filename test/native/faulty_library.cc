// The float64 backend on a stream whose ops can be told to fail, and on a device with little memory, for tests of what
// becomes of what native threads throw. `scale` by one of these factors fails:
//   1e100 for lack of memory, on the stream's thread     1e101 in a task of the team, on whatever thread runs it
//   1e102 with something that is no std::exception
//   1e103 for lack of memory, and 1e104 with another error, while it is queued, on the thread that asks for it
#include <atomic>
#include <new>
#include <stdexcept>

#include "../../native/cpu/backend.h"
#include "../../native/cpu/table.h"
#include "../../native/cpu/team.h"
#include "../../native/ops/list.h"
#include "../../native/runtime/queue.h"

namespace lateforge {
namespace {

constexpr size_t kDeviceBytes = size_t{64} << 20;

struct Faulty {
  Queue queue;
  const cpu::Kernels* kernels;
};
Faulty* of(Stream* stream) { return reinterpret_cast<Faulty*>(stream); }

int32_t runOrFail(const cpu::Kernels& kernels, const OpCall& call, char* error) {
  if (call.op == Op::scale) {
    const double by = call.as<params::scale>().by;
    if (by == 1e100) throw std::bad_alloc();
    if (by == 1e101)
      cpu::Team::instance().parallel(100, [](int64_t task) {
        if (task == 50) throw std::runtime_error("task 50 of 100 fails");
      });
    if (by == 1e102) throw 7;
  }
  return kernels.op[static_cast<int>(call.op)](call, error);
}

Stream* open(int32_t, char* error) {
  const cpu::Isa* isa = cpu::chooseIsa(error);
  if (!isa) return nullptr;
  const cpu::Kernels* kernels = isa->doubles;
  const auto copy = [](void* target, const void* source, size_t bytes) { std::memcpy(target, source, bytes); };
  return reinterpret_cast<Stream*>(
      new Faulty{{{.run = [kernels](const OpCall& call, char* text) { return runOrFail(*kernels, call, text); },
                   .write = copy,
                   .read = copy},
                  /*lazy=*/false},
                 kernels});
}

std::atomic<size_t> used{0};

const Backend* faulty() {
  static const Backend backend = [] {
    Backend b = *cpu::doubleBackend();
    b.name = "faulty";
    b.openStream = open;
    b.closeStream = [](Stream* stream) { delete of(stream); };
    b.allocate = [](int32_t device, size_t bytes) -> void* {
      if (used.fetch_add(bytes) + bytes <= kDeviceBytes) return cpu::doubleBackend()->allocate(device, bytes);
      used.fetch_sub(bytes);
      return nullptr;
    };
    b.release = [](int32_t device, void* data, size_t bytes) {
      cpu::doubleBackend()->release(device, data, bytes);
      used.fetch_sub(bytes);
    };
    b.memoryLimit = [](int32_t) { return int64_t{1} << 40; };
    b.workspace = [](Stream* stream, const OpCall* call) {
      const double by = call->op == Op::scale ? call->as<params::scale>().by : 0;
      if (by == 1e103) throw std::bad_alloc();
      if (by == 1e104) throw std::length_error("longer than it can be");
      return of(stream)->kernels->workspace(*call);
    };
    b.run = [](Stream* stream, const OpCall* call) { of(stream)->queue.run(*call); };
    b.upload = [](Stream* stream, void* target, const void* source, size_t bytes) {
      return of(stream)->queue.upload(target, source, bytes);
    };
    b.download = [](Stream* stream, void* target, const void* source, size_t bytes, Done done, void* context) {
      of(stream)->queue.download(target, source, bytes, done, context);
    };
    b.synchronize = [](Stream* stream, Done done, void* context) { of(stream)->queue.synchronize(done, context); };
    b.hostCall = [](Stream* stream, HostCall call, void* context) { of(stream)->queue.hostCall(call, context); };
    b.pending = [](Stream* stream) { return of(stream)->queue.pending(); };
    return b;
  }();
  return &backend;
}

}  // namespace
}  // namespace lateforge

extern "C" __attribute__((visibility("default"))) const lateforge::Backend* lateforge_backend(uint32_t abi) {
  return abi == lateforge::kBackendAbi ? lateforge::faulty() : nullptr;
}
