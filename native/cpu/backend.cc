#include "backend.h"

#include <array>
#include <cstring>

#include "../platform/platform.h"
#include "../runtime/queue.h"
#include "../runtime/setting.h"
#include "peak.h"
#include "table.h"
#include "team.h"

namespace lateforge {

struct Stream {
  Queue queue;
  const cpu::Kernels* kernels;
};

namespace cpu {
namespace {

void copyBytes(void* target, const void* source, size_t bytes) { std::memcpy(target, source, bytes); }

template <bool kDouble>
Stream* openStream(int32_t, char* error) {
  int64_t limit;
  const Isa* isa = chooseIsa(error);
  if (!isa || !readMemoryLimit(limit, error)) return nullptr;
  const Kernels* kernels = kDouble ? isa->doubles : isa->floats;
  Stream* stream = nullptr;
  guarded(error, [&] {
    stream = new Stream{{{.run =
                              [kernels](const OpCall& call, char* error) {
                                Team::instance().followNice();
                                return kernels->op[static_cast<int>(call.op)](call, error);
                              },
                          .write = copyBytes,
                          .read = copyBytes},
                         /*lazy=*/kDouble},
                        kernels};
    return 0;
  });
  return stream;
}

// Nine tenths of what the process may use, so that the typed error comes before the kernel's killer.
int64_t memoryLimit(int32_t) {
  int64_t limit = 0;
  char error[kErrorBytes];
  return readMemoryLimit(limit, error) && limit > 0 ? limit : platform::grantedMemory() / 10 * 9;
}

// 16-bit reals are moved and cast, and scored against where documents are stored as such; nothing else.
constexpr auto supportedTypes(uint8_t real) {
  std::array<uint8_t, kOpCount> types{};
  types.fill(real);
  for (const Op op : {Op::zero, Op::copyRows, Op::cast}) types[static_cast<size_t>(op)] = kF32 | kF64 | kF16 | kBf16;
  for (const Op op : {Op::maxsimStored, Op::maxsimResidual, Op::decodeResidual}) types[static_cast<size_t>(op)] |= kF16;
  return types;
}
template <bool kDouble>
constexpr auto kSupported = supportedTypes(kDouble ? kF64 : kF32);

int32_t peak(int32_t, double seconds, Peak* result, char*) {
  *result = {measurePeak(seconds), 0, 0, 0};
  return 0;
}

template <bool kDouble>
constexpr Backend kBackend = {
    .abi = kBackendAbi,
    .name = kDouble ? "cpu-f64" : "cpu",
    .real = kDouble ? DType::f64 : DType::f32,
    .deviceCount = [] { return int32_t{1}; },
    .openStream = openStream<kDouble>,
    .closeStream = [](Stream* stream) { delete stream; },
    .allocate = [](int32_t, size_t bytes) { return platform::reservePages(bytes); },
    .release = [](int32_t, void* data, size_t bytes) { platform::releasePages(data, bytes); },
    .memoryLimit = memoryLimit,
    .supported = kSupported<kDouble>.data(),
    .workspace = [](Stream* stream, const OpCall* call) { return stream->kernels->workspace(*call); },
    .run = [](Stream* stream, const OpCall* call) { stream->queue.run(*call); },
    .upload = [](Stream* stream, void* target, const void* source,
                 size_t bytes) { return stream->queue.upload(target, source, bytes); },
    .download = [](Stream* stream, void* target, const void* source, size_t bytes, Done done,
                   void* context) { stream->queue.download(target, source, bytes, done, context); },
    .synchronize = [](Stream* stream, Done done, void* context) { stream->queue.synchronize(done, context); },
    .hostCall = [](Stream* stream, HostCall call, void* context) { stream->queue.hostCall(call, context); },
    .hostAddress = [](void* data, size_t) { return data; },
    .deviceTransport = nullptr,
    .elapsed = nullptr,
    .peak = kDouble ? nullptr : peak,
    .pending = [](Stream* stream) { return stream->queue.pending(); },
    .describe = nullptr,
};

}  // namespace

const Backend* floatBackend() { return &kBackend<false>; }
#ifdef LF_FLOAT64
const Backend* doubleBackend() { return &kBackend<true>; }
#endif

}  // namespace cpu
}  // namespace lateforge
