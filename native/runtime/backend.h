// The boundary between core and a backend: plain structs and function pointers, so that a backend can live in a shared
// library of its own. A backend fills `Backend`.
//
// Every device is an in-order stream: run, upload and download take effect in the order of the calls, and return at
// once. Memory may be reused by a later call as soon as an earlier call that uses it has been issued.
#pragma once

#include <cstddef>
#include <cstdint>

#include "dtype.h"

namespace lateforge {

enum class Op : int32_t;  // native/ops/list.h

constexpr uint32_t kBackendAbi = 15;
constexpr int kMaxInputs = 12;
constexpr int kMaxOutputs = 4;
constexpr int kMaxParams = 8;
constexpr size_t kErrorBytes = 512;

// One op, validated, with its outputs and workspace allocated. Copied by `run`.
struct OpCall {
  Op op;
  View in[kMaxInputs];
  View out[kMaxOutputs];
  double params[kMaxParams];  // bytes of the op's params struct
  void* workspace;
  int64_t workspaceBytes;

  template <class P>
  P as() const {
    static_assert(sizeof(P) <= sizeof(params));
    P p;
    __builtin_memcpy(&p, params, sizeof p);
    return p;
  }
};

// Returns 0, or writes a message of at most kErrorBytes and returns 1. It may throw: a stream keeps what a kernel
// throws as its error (barrier.h). Nothing else here lets an exception out.
using Kernel = int32_t (*)(const OpCall& call, char* error);

// Called once from a native thread. `error` is null when all went well, else the stream's first error.
using Done = void (*)(void* context, const char* error);

// A host function that ops behind it wait for. `streamError` is the stream's first error so far, or null. Returns 0, or
// writes a message and returns 1: the stream's error then, if it has none. It may block.
using HostCall = int32_t (*)(void* context, const char* streamError, char* error);

struct Stream;           // the backend's own
struct DeviceTransport;  // device_transport.h

// What a device can do at most, measured; 0: not measured. A multiply-add is two operations.
struct Peak {
  double fp32;    // float32 operations a second
  double fp16;    // operations a second of the tensor cores on 16-bit numbers, with float32 sums
  double memory;  // bytes a second read from memory
  double cache;   // bytes a second read from the cache that all cores share
};

struct Backend {
  uint32_t abi;
  const char* name;
  DType real;  // what parameters and activations are made of unless asked otherwise

  int32_t (*deviceCount)();
  // Null on failure, with the reason in `error`; where there are no devices, that is why there are none.
  Stream* (*openStream)(int32_t device, char* error);
  // Waits for what runs. Of what is queued ops and uploads are dropped, the rest gets an error: all before it returns.
  void (*closeStream)(Stream*);

  // Large blocks for core's allocator, 64-byte aligned or better; null when there is no memory. `release` comes from a
  // host call, or when the stream is closed, and waits for what the device still runs of ops issued before.
  void* (*allocate)(int32_t device, size_t bytes);
  void (*release)(int32_t device, void* data, size_t bytes);
  // What a device may use by default, in bytes.
  int64_t (*memoryLimit)(int32_t device);

  // By op, the set of real types its operands may have (dtype.h). 0 where the backend lacks the op: core then throws
  // ERR_UNSUPPORTED, and ERR_DTYPE for other types.
  const uint8_t* supported;
  // Bytes of workspace that `run` needs for this op; operands and outputs are known, but for their contents. Called on
  // the thread that calls `run`, right before it.
  int64_t (*workspace)(Stream*, const OpCall*);
  void (*run)(Stream*, const OpCall*);
  // Copies `source` before returning; 1 when the host has no memory for the copy.
  int32_t (*upload)(Stream*, void* target, const void* source, size_t bytes);
  // Fills `target`, then calls done. 0 bytes: an event. After an error every download reports it.
  void (*download)(Stream*, void* target, const void* source, size_t bytes, Done done, void* context);
  // Waits for everything queued, reports the first error and makes the stream usable again.
  void (*synchronize)(Stream*, Done done, void* context);
  // Runs `call`, also after an error. What is issued afterwards runs once it has returned; what was issued before may
  // still be running.
  void (*hostCall)(Stream*, HostCall call, void* context);
  // Where the host finds `bytes` of the device's memory; null when it cannot address them. Ranks then need
  // `deviceTransport`.
  void* (*hostAddress)(void* data, size_t bytes);
  // How such a device reaches those of other ranks by itself; null: not at all.
  const DeviceTransport* deviceTransport;
  // Milliseconds of the device's own clock since the call before, both in stream order; 0 for the first. Null: the
  // device has none, and nothing but the caller's clock tells.
  void (*elapsed)(Stream*, double* milliseconds, Done done, void* context);
  // Measures for about `seconds`, on the caller's thread. Null: nothing is known.
  int32_t (*peak)(int32_t device, double seconds, Peak* result, char* error);
  // Ops queued and not finished; for back-pressure and tests.
  int64_t (*pending)(Stream*);
  // Writes what `lateforge doctor` prints, one "name: value" a line, 0-terminated; null: nothing to tell. Works without
  // a device.
  void (*describe)(char* text, size_t bytes);
};

// The one symbol a backend library exports: `lateforge_backend`. Null when the ABI differs.
using BackendEntry = const Backend* (*)(uint32_t abi);

}  // namespace lateforge
