// The CUDA backend behind the one function that this library exports.
#include "../../runtime/backend.h"

#include <cstdio>

#include "../ops.h"
#include "../reference.h"
#include "devices.h"
#include "nccl.h"
#include "peak.h"
#include "stream.h"

namespace lateforge::cuda {
namespace {

constexpr OpTable kOps = opTable();

Stream* openStream(int32_t device, char* error) {
  int64_t limit;
  bool wait;
  if (!readMemoryLimit(limit, error) || !readFlag("LATEFORGE_CUDA_SYNC", wait, error) || !checkReference(error))
    return nullptr;
  Stream* stream = nullptr;
  guarded(error, [&] {
    if (usable(device, error)) stream = Stream::open(device, kOps.op, error);
    return 0;
  });
  return stream;
}

// Parameters and activations are float32 unless asked otherwise, as on the CPU.
const Backend kBackend = {
    .abi = kBackendAbi,
    .name = "cuda",
    .real = DType::f32,
    .deviceCount = deviceCount,
    .openStream = openStream,
    .closeStream = [](Stream* stream) { delete stream; },
    .allocate = allocate,
    .release = release,
    .memoryLimit = memoryLimit,
    .supported = kOps.supported,
    .workspace = [](Stream*, const OpCall* call) { return workspaceOf(*call); },
    .run = [](Stream* stream, const OpCall* call) { stream->run(*call); },
    .upload = [](Stream* stream, void* target, const void* source,
                 size_t bytes) { return stream->upload(target, source, bytes); },
    .download = [](Stream* stream, void* target, const void* source, size_t bytes, Done done,
                   void* context) { stream->download(target, source, bytes, done, context); },
    .synchronize = [](Stream* stream, Done done, void* context) { stream->synchronize(done, context); },
    .hostCall = [](Stream* stream, HostCall call, void* context) { stream->hostCall(call, context); },
    .hostAddress = nullptr,
    .deviceTransport = &kNcclTransport,
    .elapsed = [](Stream* stream, double* milliseconds, Done done,
                  void* context) { stream->elapsed(milliseconds, done, context); },
    .peak = measurePeak,
    .pending = [](Stream* stream) { return stream->pending(); },
    .describe = [](char* text, size_t bytes) { std::snprintf(text, bytes, "%s", describe().c_str()); },
};

}  // namespace
}  // namespace lateforge::cuda

extern "C" __attribute__((visibility("default"))) const lateforge::Backend* lateforge_backend(uint32_t abi) {
  return abi == lateforge::kBackendAbi ? &lateforge::cuda::kBackend : nullptr;
}
