// cuda-host: the CUDA kernels behind the backend boundary, on the twin. Nothing runs until somebody reads.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <stdexcept>

#include "../../core/queue.h"
#include "../ops.h"
#include "executor.h"
#include "memory.h"

namespace lateforge {

struct Stream {
  Queue queue;
};

namespace cuda::host {
namespace {

constexpr OpTable kOps = opTable();

// Dynamic shared memory of a block on the device that is played: LATEFORGE_TWIN_PROFILE, sm_80, sm_86 or sm_90.
int64_t sharedLimit() {
  const char* profile = std::getenv("LATEFORGE_TWIN_PROFILE");
  if (profile && std::strcmp(profile, "sm_80") == 0) return 163 * 1024;
  if (profile && std::strcmp(profile, "sm_90") == 0) return 227 * 1024;
  return 99 * 1024;
}

// What an op leaves unwritten must not look right: outputs and workspace start as NaN.
void poisonResults(const OpCall& call) {
  for (const View& out : call.out)
    if (out.present()) poisonDevice(out.data, static_cast<size_t>(out.bytes()));
  if (call.workspaceBytes) poisonDevice(call.workspace, static_cast<size_t>(call.workspaceBytes));
}

int32_t runOp(const OpCall& call, void* fault, char* error) try {
  poisonResults(call);
  Fault state{kNoFault};
  writeDevice(fault, &state, sizeof state);
  Context context{reinterpret_cast<StreamHandle>(uintptr_t{1}), sharedLimit(), fault, error};
  if (kOps.op[static_cast<int>(call.op)](call, context)) return 1;
  readDevice(&state, fault, sizeof state);
  if (state.first == kNoFault) return 0;
  std::snprintf(error, kErrorBytes, "element %llu of %lld is not finite", static_cast<unsigned long long>(state.first),
                static_cast<long long>(call.in[0].count()));
  return 1;
} catch (const std::runtime_error& broken) {
  std::snprintf(error, kErrorBytes, "%s", broken.what());
  return 1;
}

Stream* openStream(int32_t, char* error) {
  void* fault = allocateDevice(sizeof(Fault));
  if (!fault) {
    std::snprintf(error, kErrorBytes, "no memory");
    return nullptr;
  }
  // One for each environment, for the life of the process.
  return new Stream{{{.run = [fault](const OpCall& call, char* text) { return runOp(call, fault, text); },
                      .write = writeDevice,
                      .read = readDevice},
                     /*lazy=*/true}};
}

constexpr Backend kBackend = {
    .abi = kBackendAbi,
    .name = "cuda-host",
    .real = DType::f32,
    .deviceCount = [] { return int32_t{1}; },
    .openStream = openStream,
    .closeStream = [](Stream* stream) { delete stream; },
    .allocate = [](int32_t, size_t bytes) { return allocateDevice(bytes); },
    .release = [](int32_t, void* data, size_t) { releaseDevice(data); },
    .memoryLimit = [](int32_t) { return int64_t{2} << 30; },
    .supported = kOps.supported,
    .run = [](Stream* stream, const OpCall* call) { stream->queue.run(*call); },
    .upload = [](Stream* stream, void* target, const void* source,
                 size_t bytes) { stream->queue.upload(target, source, bytes); },
    .download = [](Stream* stream, void* target, const void* source, size_t bytes, Done done,
                   void* context) { stream->queue.download(target, source, bytes, done, context); },
    .synchronize = [](Stream* stream, Done done, void* context) { stream->queue.synchronize(done, context); },
    .hostCall = nullptr,  // device memory is no host memory
    .pending = [](Stream* stream) { return stream->queue.pending(); },
};

}  // namespace
}  // namespace cuda::host
}  // namespace lateforge

extern "C" __attribute__((visibility("default"))) const lateforge::Backend* lateforge_backend(uint32_t abi) {
  return abi == lateforge::kBackendAbi ? &lateforge::cuda::host::kBackend : nullptr;
}
