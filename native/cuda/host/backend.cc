// cuda-host: the CUDA kernels behind the backend boundary, in the host emulation. Nothing runs until somebody reads.
#include <chrono>
#include <cstdio>
#include <optional>

#include "../../runtime/queue.h"
#include "../ops.h"
#include "../reference.h"
#include "executor.h"
#include "memory.h"
#include "run.h"

namespace lateforge {

struct Stream {
  void* fault;
  std::optional<std::chrono::steady_clock::time_point> elapsed;  // the queue's thread's
  Queue queue;                                                   // ends before what its thread uses
};

namespace cuda::host {
namespace {

constexpr OpTable kOps = opTable();

Stream* openStream(int32_t, char* error) {
  int64_t limit;
  if (!readMemoryLimit(limit, error) || !checkReference(error) || !checkSettings(error)) return nullptr;
  void* fault = allocateDevice(sizeof(Fault));
  if (!fault) {
    std::snprintf(error, kErrorBytes, "no memory");
    return nullptr;
  }
  Stream* stream = nullptr;
  guarded(error, [&] {
    stream = new Stream{fault,
                        {},
                        {{.run = [fault](const OpCall& call, char* text) { return runOp(call, fault, text); },
                          .write = writeDevice,
                          .read = readDevice},
                         /*lazy=*/true}};
    return 0;
  });
  if (!stream) releaseDevice(fault);
  return stream;
}

int64_t memoryLimit(int32_t) {
  int64_t limit = int64_t{2} << 30;
  char error[kErrorBytes];
  readMemoryLimit(limit, error);
  return limit;
}

struct Lap {
  Stream* stream;
  double* milliseconds;
  Done done;
  void* context;
};

// The host emulation's clock is the host's, read when the stream comes by.
void elapsed(Stream* stream, double* milliseconds, Done done, void* context) {
  stream->queue.download(
      nullptr, nullptr, 0,
      [](void* given, const char* error) {
        const std::unique_ptr<Lap> self(static_cast<Lap*>(given));
        const auto now = std::chrono::steady_clock::now();
        auto& before = self->stream->elapsed;
        *self->milliseconds = before ? std::chrono::duration<double, std::milli>(now - *before).count() : 0;
        before = now;
        self->done(self->context, error);
      },
      new Lap{stream, milliseconds, done, context});
}

constexpr Backend kBackend = {
    .abi = kBackendAbi,
    .name = "cuda-host",
    .real = DType::f32,
    .deviceCount = [] { return int32_t{1}; },
    .openStream = openStream,
    .closeStream =
        [](Stream* stream) {
          void* fault = stream->fault;
          delete stream;
          releaseDevice(fault);
        },
    .allocate = [](int32_t, size_t bytes) { return allocateDevice(bytes); },
    .release = [](int32_t, void* data, size_t) { releaseDevice(data); },
    .memoryLimit = memoryLimit,
    .supported = kOps.supported,
    .workspace = [](Stream*, const OpCall* call) { return workspaceOf(*call); },
    .run = [](Stream* stream, const OpCall* call) { stream->queue.run(*call); },
    .upload = [](Stream* stream, void* target, const void* source,
                 size_t bytes) { return stream->queue.upload(target, source, bytes); },
    .download = [](Stream* stream, void* target, const void* source, size_t bytes, Done done,
                   void* context) { stream->queue.download(target, source, bytes, done, context); },
    .synchronize = [](Stream* stream, Done done, void* context) { stream->queue.synchronize(done, context); },
    .hostCall = [](Stream* stream, HostCall call, void* context) { stream->queue.hostCall(call, context); },
    .hostAddress = hostAddress,
    .deviceTransport = nullptr,
    .elapsed = elapsed,
    .peak = nullptr,
    .pending = [](Stream* stream) { return stream->queue.pending(); },
    .describe = nullptr,
};

}  // namespace
}  // namespace cuda::host
}  // namespace lateforge

extern "C" __attribute__((visibility("default"))) const lateforge::Backend* lateforge_backend(uint32_t abi) {
  return abi == lateforge::kBackendAbi ? &lateforge::cuda::host::kBackend : nullptr;
}
